-- the indexes of a materialized view ($1 view)
SELECT format('%I.%I', n.nspname, i.relname) AS statement
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE x.indrelid = to_regclass($1)
ORDER BY i.relname
