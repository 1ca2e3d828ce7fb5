-- capture a column's default ($1 table, $2 column)
SELECT format('ALTER TABLE %I.%I ALTER COLUMN %I %s', n.nspname, c.relname, a.attname,
              CASE WHEN d.oid IS NULL THEN 'DROP DEFAULT'
                   ELSE 'SET DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) END) AS statement
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $2 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.oid = to_regclass($1) AND a.attgenerated = '' AND a.attidentity = ''
