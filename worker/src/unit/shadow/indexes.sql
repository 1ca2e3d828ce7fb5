-- the indexes of the new table, as statements that build each once it is filled ($1 new table)
SELECT s.kind, i.relname::text AS name, s.statement
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class c ON c.oid = x.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_constraint k ON k.conindid = i.oid AND k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x')
CROSS JOIN LATERAL (
    SELECT 'index' AS kind, 1 AS place, pg_get_indexdef(i.oid) AS statement
    UNION ALL
    SELECT 'attach', 2, format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s USING INDEX %I%s%s',
                               n.nspname, c.relname, k.conname,
                               CASE k.contype WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END, i.relname,
                               CASE WHEN k.condeferrable THEN ' DEFERRABLE' ELSE '' END,
                               CASE WHEN k.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END)
    WHERE k.oid IS NOT NULL
    UNION ALL
    SELECT 'attach', 3, format('COMMENT ON CONSTRAINT %I ON %I.%I IS %L', k.conname, n.nspname,
                               c.relname, obj_description(k.oid, 'pg_constraint'))
    WHERE obj_description(k.oid, 'pg_constraint') IS NOT NULL
) s
WHERE c.oid = to_regclass($1) AND coalesce(k.contype, ' ') <> 'x'
ORDER BY i.oid, s.place
