-- capture a constraint ($1 table, $2 constraint)
SELECT statement
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT 1 AS place, format('ALTER TABLE %I.%I DROP CONSTRAINT IF EXISTS %I',
                              n.nspname, c.relname, k.conname) AS statement
    UNION ALL
    SELECT 2, format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', n.nspname, c.relname, k.conname,
                     pg_get_constraintdef(k.oid))
    UNION ALL
    SELECT 3, format('COMMENT ON CONSTRAINT %I ON %I.%I IS %L', k.conname, n.nspname, c.relname,
                     obj_description(k.oid, 'pg_constraint'))
    WHERE obj_description(k.oid, 'pg_constraint') IS NOT NULL
) s
WHERE k.conrelid = to_regclass($1) AND k.conname = $2 AND k.contype <> 't'
ORDER BY s.place
