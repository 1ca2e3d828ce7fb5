-- upshift: read user-defined types
-- Not the row types of tables, nor the array and multirange types that come with others.
SELECT n.nspname::text AS schema, t.typname::text AS name, t.typtype::text AS kind,
       CASE WHEN t.typtype = 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod) END AS base,
       t.typdefault IS NOT NULL AS has_default,
       EXISTS (SELECT FROM pg_catalog.pg_constraint AS k
               JOIN pg_catalog.pg_depend AS d
                 ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND d.objid = k.oid
               WHERE k.contypid = t.oid
                 AND d.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass,
                                      'pg_catalog.pg_operator'::pg_catalog.regclass)) AS calls_foreign,
       pg_catalog.quote_ident(l.nspname) || '.' || pg_catalog.quote_ident(o.collname) AS collation
FROM pg_catalog.pg_type AS t
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = t.typrelid
LEFT JOIN (pg_catalog.pg_collation AS o JOIN pg_catalog.pg_namespace AS l ON l.oid = o.collnamespace)
       ON o.oid = t.typcollation AND o.collname <> 'default'
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND n.nspname !~ '^upshift(_kept.*)?$'
  AND t.typtype IN ('e', 'd', 'c', 'r', 'b')
  AND (t.typtype <> 'c' OR c.relkind = 'c')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_type AS e WHERE e.typarray = t.oid)
ORDER BY n.nspname, t.typname
