-- what CREATE OR REPLACE VIEW cannot change: kind, names and types of columns ($1 view)
SELECT c.relkind::text || coalesce(string_agg(
           format(' %s %s', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod)), ','
           ORDER BY a.attnum), '') AS statement
FROM pg_class c
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.oid = to_regclass($1)
GROUP BY c.oid, c.relkind
