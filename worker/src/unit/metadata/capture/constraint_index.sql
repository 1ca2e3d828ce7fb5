-- the index behind a constraint ($1 table, $2 constraint)
SELECT format('%I.%I', n.nspname, i.relname) AS statement
FROM pg_constraint k
JOIN pg_class i ON i.oid = k.conindid
JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE k.conrelid = to_regclass($1) AND k.conname = $2 AND k.contype IN ('p', 'u', 'x')
