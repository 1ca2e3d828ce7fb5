-- upshift: read which columns own sequences and draw from them
-- First OWNED BY (deptype a) and identity (deptype i), then defaults that mention a sequence.
SELECT s.oid::bigint AS sequence,
       d.refobjid::bigint AS relation,
       d.refobjsubid AS number,
       true AS owned,
       d.deptype = 'i' AS draws
FROM pg_catalog.pg_class AS s
JOIN pg_catalog.pg_depend AS d ON d.objid = s.oid
WHERE s.relkind = 'S'
  AND d.classid = 'pg_catalog.pg_class'::regclass
  AND d.refclassid = 'pg_catalog.pg_class'::regclass
  AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
UNION ALL
SELECT s.oid::bigint, a.adrelid::bigint, a.adnum::integer, false, true
FROM pg_catalog.pg_class AS s
JOIN pg_catalog.pg_depend AS d ON d.refobjid = s.oid
JOIN pg_catalog.pg_attrdef AS a ON a.oid = d.objid
WHERE s.relkind = 'S'
  AND d.refclassid = 'pg_catalog.pg_class'::regclass
  AND d.classid = 'pg_catalog.pg_attrdef'::regclass
