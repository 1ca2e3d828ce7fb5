-- capture a column's type and collation, where the cast back is exact ($1 table, $2 column, $3 the
-- expression that gives the old value, NULL for the column itself)
-- The default goes first and comes last: it may not have a cast between the types.
SELECT format('ALTER TABLE %I.%I ', n.nspname, c.relname)
       || CASE WHEN plain THEN format('ALTER COLUMN %I DROP DEFAULT, ', a.attname) ELSE '' END
       || format('ALTER COLUMN %I TYPE %s%s', a.attname, format_type(a.atttypid, a.atttypmod),
                 CASE WHEN a.attcollation <> t.typcollation
                      THEN format(' COLLATE %I.%I', ln.nspname, l.collname) ELSE '' END)
       || CASE WHEN a.attgenerated <> '' THEN ''
               WHEN $3::text IS NOT NULL THEN ' USING ' || $3::text
               ELSE format(' USING %I::%s', a.attname, format_type(a.atttypid, a.atttypmod)) END
       || CASE WHEN plain AND d.oid IS NOT NULL
               THEN format(', ALTER COLUMN %I SET DEFAULT %s', a.attname,
                           pg_get_expr(d.adbin, d.adrelid)) ELSE '' END AS statement
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $2 AND NOT a.attisdropped
CROSS JOIN LATERAL (SELECT a.attgenerated = '' AND a.attidentity = '' AS plain) p
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_collation l ON l.oid = a.attcollation
LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.oid = to_regclass($1)
