-- upshift: read relations
-- Names that begin with pg_ are reserved to the system's schemas. pg_relation_size releases its lock
-- on each relation at once, so that any number of them fits into the lock table; it is NULL for a
-- relation that is dropped meanwhile.
SELECT c.oid::bigint AS oid,
       n.nspname::text AS schema,
       c.relname::text AS name,
       c.relkind::text AS kind,
       c.relpersistence::text AS persistence,
       c.relrowsecurity AS row_security,
       greatest(c.reltuples, 0)::double precision AS rows,
       CASE WHEN c.relkind IN ('r', 'm') THEN
           coalesce(pg_catalog.pg_relation_size(c.oid), 0)
           + coalesce(pg_catalog.pg_relation_size(nullif(c.reltoastrelid, 0)), 0)
       ELSE 0 END AS bytes,
       CASE WHEN c.relhasrules THEN ARRAY(
           SELECT DISTINCT r.ev_type::text FROM pg_catalog.pg_rewrite AS r
           WHERE r.ev_class = c.oid AND r.ev_type <> '1'
       ) ELSE '{}' END AS rules
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND n.nspname !~ '^upshift(_kept.*)?$'
ORDER BY c.oid
