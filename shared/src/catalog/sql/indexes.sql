-- upshift: read indexes
-- int2vector is turned into text because its elements are numbered from 0, which the driver refuses.
-- An index depends on every column that its keys, expressions, predicate or INCLUDE list mention;
-- one that backs a constraint depends on the constraint instead, but then has only plain columns.
SELECT i.indrelid::bigint AS relation,
       ic.relname::text AS name,
       i.indisunique AS is_unique,
       i.indisprimary AS is_primary,
       i.indisvalid AS is_valid,
       i.indimmediate AS immediate,
       am.amname::text AS method,
       i.indnkeyatts::integer AS keys,
       i.indkey::text AS columns,
       ARRAY(
           SELECT d.refobjsubid
           FROM pg_catalog.pg_depend AS d
           WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = i.indexrelid
             AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = i.indrelid
             AND d.refobjsubid > 0
       ) AS mentions,
       pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS predicate,
       pg_catalog.pg_get_indexdef(i.indexrelid) AS definition,
       CASE WHEN ic.relkind = 'i' THEN coalesce(pg_catalog.pg_relation_size(ic.oid), 0) ELSE 0 END
           AS bytes
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS ic ON ic.oid = i.indexrelid
JOIN pg_catalog.pg_am AS am ON am.oid = ic.relam
JOIN pg_catalog.pg_namespace AS n ON n.oid = ic.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND n.nspname !~ '^upshift(_kept.*)?$'
ORDER BY i.indrelid, ic.relname
