-- upshift: read functions
-- initdb gives oids below 16384; what an extension puts into pg_catalog has a higher one.
SELECT n.nspname::text AS schema,
       p.proname::text AS name,
       p.provolatile::text AS volatility,
       p.prokind::text AS kind,
       p.proretset AS returns_set,
       n.nspname = 'pg_catalog' AND p.oid < 16384 AS builtin,
       p.pronargs::integer AS arguments
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^upshift(_kept.*)?$'
  AND n.nspname !~ '^pg_(toast|temp)'
ORDER BY p.oid
