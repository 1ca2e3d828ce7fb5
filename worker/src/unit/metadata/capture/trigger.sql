-- capture a trigger ($1 table, $2 trigger)
SELECT statement
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND t.tgname = $2 AND NOT t.tgisinternal
CROSS JOIN LATERAL (
    SELECT 1 AS place, format('DROP TRIGGER IF EXISTS %I ON %I.%I', $2, n.nspname, c.relname)
           AS statement
    UNION ALL
    SELECT 2, pg_get_triggerdef(t.oid) WHERE t.oid IS NOT NULL
    UNION ALL
    SELECT 3, format('COMMENT ON TRIGGER %I ON %I.%I IS %L', t.tgname, n.nspname, c.relname,
                     obj_description(t.oid, 'pg_trigger'))
    WHERE obj_description(t.oid, 'pg_trigger') IS NOT NULL
    UNION ALL
    SELECT 4, format('ALTER TABLE %I.%I %s TRIGGER %I', n.nspname, c.relname,
                     CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA'
                                      ELSE 'ENABLE ALWAYS' END, t.tgname)
    WHERE t.tgenabled <> 'O'
) s
WHERE c.oid = to_regclass($1)
ORDER BY s.place
