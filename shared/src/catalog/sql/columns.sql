-- upshift: read columns
-- Columns that an earlier run has dropped but not yet destroyed are as good as gone.
SELECT a.attrelid::bigint AS relation,
       a.attnum::integer AS number,
       a.attname::text AS name,
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS type_name,
       pg_catalog.quote_ident(l.nspname) || '.' || pg_catalog.quote_ident(k.collname) AS collation,
       a.attnotnull AS not_null,
       pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS expression,
       a.attidentity::text AS identity,
       a.attgenerated::text AS generated
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN (pg_catalog.pg_collation AS k JOIN pg_catalog.pg_namespace AS l ON l.oid = k.collnamespace)
       ON k.oid = a.attcollation AND k.collname <> 'default'
WHERE a.attnum > 0 AND NOT a.attisdropped
  AND a.attname !~ '^upshift_kept_'
  AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND n.nspname !~ '^upshift(_kept.*)?$'
ORDER BY a.attrelid, a.attnum
