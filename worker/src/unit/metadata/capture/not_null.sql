-- capture a column's NOT NULL ($1 table, $2 column)
-- From PostgreSQL 18 on it is a constraint with a name ('n'). Nothing can take it from a column of a
-- primary key but hiding that column: then the name has to be there before the key comes back, which would
-- make up another; adding the same one again changes nothing.
SELECT statement
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $2 AND NOT a.attisdropped
LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum]
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary
                   AND a.attnum = ANY (i.indkey::smallint[])) AS is_key
) p
CROSS JOIN LATERAL (
    SELECT 1 AS place, format('ALTER TABLE %I.%I ALTER COLUMN %I DROP NOT NULL',
                              n.nspname, c.relname, a.attname) AS statement
    WHERE (NOT a.attnotnull OR k.oid IS NOT NULL) AND NOT p.is_key
    UNION ALL
    SELECT 2, format('ALTER TABLE %I.%I ALTER COLUMN %I SET NOT NULL',
                     n.nspname, c.relname, a.attname)
    WHERE a.attnotnull AND k.oid IS NULL AND NOT p.is_key
    UNION ALL
    SELECT 3, format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s',
                     n.nspname, c.relname, k.conname, pg_get_constraintdef(k.oid))
    WHERE k.oid IS NOT NULL
    UNION ALL
    SELECT 4, format('COMMENT ON CONSTRAINT %I ON %I.%I IS %L', k.conname, n.nspname, c.relname,
                     obj_description(k.oid, 'pg_constraint'))
    WHERE k.oid IS NOT NULL AND obj_description(k.oid, 'pg_constraint') IS NOT NULL
) s
WHERE c.oid = to_regclass($1)
ORDER BY s.place
