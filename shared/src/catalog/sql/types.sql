-- upshift: read user-defined types
-- Not the row types of tables, nor the array and multirange types that come with others.
SELECT n.nspname::text AS schema, t.typname::text AS name, t.typtype::text AS kind
FROM pg_catalog.pg_type AS t
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = t.typrelid
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND n.nspname !~ '^upshift(_kept.*)?$'
  AND t.typtype IN ('e', 'd', 'c', 'r', 'b')
  AND (t.typtype <> 'c' OR c.relkind = 'c')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_type AS e WHERE e.typarray = t.oid)
ORDER BY n.nspname, t.typname
