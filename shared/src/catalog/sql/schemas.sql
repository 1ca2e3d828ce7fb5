-- upshift: read schemas
SELECT n.nspname::text AS name
FROM pg_catalog.pg_namespace AS n
WHERE n.nspname !~ '^pg_(toast|temp)' AND n.nspname !~ '^upshift(_kept.*)?$'
ORDER BY n.nspname
