SELECT x.kind, x.name, pg_catalog.hashtextextended(x.definition, 0) AS definition
FROM (
    WITH home AS (
        SELECT n.oid, n.nspname FROM pg_catalog.pg_namespace n
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
          AND n.nspname !~ '^upshift(_kept.*)?$'
    ), rel AS (
        SELECT c.*, format('%I.%I', h.nspname, c.relname) AS called
        FROM pg_catalog.pg_class c JOIN home h ON h.oid = c.relnamespace
        WHERE c.relpersistence <> 't'
    )
    SELECT 'schema' AS kind, format('%I', h.nspname) AS name, '' AS definition FROM home h
    UNION ALL
    SELECT CASE WHEN r.relkind IN ('v', 'm') THEN 'view' ELSE 'table' END, r.called,
           concat_ws(' ', r.relkind, r.relpersistence, r.relrowsecurity,
                     pg_get_expr(r.relpartbound, r.oid),
                     CASE r.relkind WHEN 'p' THEN pg_get_partkeydef(r.oid) END,
                     CASE WHEN r.relkind IN ('v', 'm') THEN pg_get_viewdef(r.oid) END)
    FROM rel r WHERE r.relkind IN ('r', 'p', 'f', 'v', 'm')
    UNION ALL
    SELECT 'column', format('%s.%I', r.called, a.attname),
           concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attcollation, a.attnotnull,
                     a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid))
    FROM rel r
    JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE r.relkind IN ('r', 'p', 'f', 'v', 'm') AND a.attnum > 0 AND NOT a.attisdropped
      AND a.attname !~ '^upshift_kept_'
    UNION ALL
    SELECT 'index', r.called, concat_ws(' ', pg_get_indexdef(i.indexrelid), i.indisvalid)
    FROM rel r JOIN pg_catalog.pg_index i ON i.indexrelid = r.oid
    WHERE r.relname !~ '^upshift_kept_'
    UNION ALL
    SELECT 'constraint', format('%s.%I', r.called, k.conname),
           concat_ws(' ', pg_get_constraintdef(k.oid), k.convalidated)
    FROM rel r JOIN pg_catalog.pg_constraint k ON k.conrelid = r.oid
    WHERE k.conname !~ '^upshift_kept_' AND k.contype <> 't'
    UNION ALL
    SELECT 'trigger', format('%s.%I', r.called, t.tgname),
           concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled)
    FROM rel r JOIN pg_catalog.pg_trigger t ON t.tgrelid = r.oid
    WHERE NOT t.tgisinternal
    UNION ALL
    SELECT 'sequence', r.called,
           concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmax, s.seqmin,
                     s.seqcache, s.seqcycle)
    FROM rel r JOIN pg_catalog.pg_sequence s ON s.seqrelid = r.oid
) AS x
