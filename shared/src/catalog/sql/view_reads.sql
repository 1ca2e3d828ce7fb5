-- upshift: read what views read
SELECT DISTINCT r.ev_class::bigint AS view, d.refobjid::bigint AS relation
FROM pg_catalog.pg_rewrite AS r
JOIN pg_catalog.pg_class AS c ON c.oid = r.ev_class
JOIN pg_catalog.pg_depend AS d ON d.objid = r.oid
WHERE c.relkind IN ('v', 'm')
  AND d.classid = 'pg_catalog.pg_rewrite'::regclass
  AND d.refclassid = 'pg_catalog.pg_class'::regclass
  AND d.refobjid <> r.ev_class
ORDER BY 1, 2
