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
    UNION ALL
    -- What belongs to an extension changes with it, not by hand.
    SELECT 'function', format('%I.%I(%s)', h.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
           concat_ws(' ', p.prokind, pg_get_function_result(p.oid), l.lanname, p.provolatile, p.proisstrict,
                     p.prosecdef, p.proparallel, p.proconfig, p.prosrc, pg_get_function_sqlbody(p.oid))
    FROM pg_catalog.pg_proc p
    JOIN home h ON h.oid = p.pronamespace
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
    UNION ALL
    SELECT 'type', format('%I.%I', h.nspname, t.typname),
           concat_ws(' ', t.typtype, format_type(t.typbasetype, t.typtypmod), t.typnotnull, t.typdefault,
                     (SELECT string_agg(quote_literal(e.enumlabel), ',' ORDER BY e.enumsortorder)
                      FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid),
                     (SELECT string_agg(k.conname || ' ' || pg_get_constraintdef(k.oid), ',' ORDER BY k.conname)
                      FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid))
    FROM pg_catalog.pg_type t
    JOIN home h ON h.oid = t.typnamespace
    WHERE t.typtype IN ('d', 'e', 'r')
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
    UNION ALL
    SELECT 'policy', format('%s.%I', r.called, p.polname),
           concat_ws(' ', p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid),
                     pg_get_expr(p.polwithcheck, p.polrelid),
                     (SELECT string_agg(coalesce(a.rolname, 'public'), ',' ORDER BY a.rolname)
                      FROM unnest(p.polroles) AS o (role) LEFT JOIN pg_catalog.pg_roles a ON a.oid = o.role))
    FROM rel r JOIN pg_catalog.pg_policy p ON p.polrelid = r.oid
    UNION ALL
    SELECT 'rule', format('%s.%I', r.called, w.rulename), concat_ws(' ', pg_get_ruledef(w.oid), w.ev_enabled)
    FROM rel r JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.oid
    WHERE w.rulename <> '_RETURN'
) AS x
