-- capture an index ($1 index)
SELECT statement
FROM pg_class i
JOIN pg_namespace n ON n.oid = i.relnamespace
CROSS JOIN LATERAL (
    SELECT 1 AS place, format('DROP INDEX IF EXISTS %I.%I', n.nspname, i.relname) AS statement
    UNION ALL
    SELECT 2, pg_get_indexdef(i.oid)
) s
WHERE i.oid = to_regclass($1) AND i.relkind IN ('i', 'I')
ORDER BY s.place
