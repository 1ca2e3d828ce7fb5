-- capture a view or materialized view ($1 view): definition, owner, defaults, rules, triggers,
-- comments; privileges and indexes apart
SELECT statement
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS class,
           (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0) AS columns
) v
CROSS JOIN LATERAL (
    SELECT 1 AS place, 0 AS part,
           format('CREATE %s%s %I.%I (%s)%s AS %s%s',
                  CASE c.relkind WHEN 'm' THEN '' ELSE 'OR REPLACE ' END, v.class,
                  n.nspname, c.relname, v.columns,
                  coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', ''),
                  rtrim(pg_get_viewdef(c.oid), ';'),
                  CASE WHEN c.relkind <> 'm' THEN '' WHEN c.relispopulated THEN ' WITH DATA'
                       ELSE ' WITH NO DATA' END) AS statement
    UNION ALL
    SELECT 2, 0, format('ALTER %s %I.%I OWNER TO %I', v.class, n.nspname, c.relname,
                        pg_get_userbyid(c.relowner))
    UNION ALL
    SELECT 3, d.adnum, format('ALTER VIEW %I.%I ALTER COLUMN %I SET DEFAULT %s', n.nspname, c.relname,
                              a.attname, pg_get_expr(d.adbin, d.adrelid))
    FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    WHERE d.adrelid = c.oid
    UNION ALL
    SELECT 4, 0, pg_get_ruledef(r.oid)
    FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN'
    UNION ALL
    SELECT 5, 0, pg_get_triggerdef(t.oid)
    FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
    UNION ALL
    SELECT 6, 0, format('COMMENT ON %s %I.%I IS %L', v.class, n.nspname, c.relname,
                        obj_description(c.oid, 'pg_class'))
    UNION ALL
    SELECT 7, a.attnum, format('COMMENT ON COLUMN %I.%I.%I IS %L', n.nspname, c.relname, a.attname,
                               col_description(c.oid, a.attnum))
    FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND col_description(c.oid, a.attnum) IS NOT NULL
) s
WHERE c.oid = to_regclass($1) AND c.relkind IN ('v', 'm')
ORDER BY s.place, s.part
