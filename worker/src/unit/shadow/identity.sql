-- identity sequences of a new table as those of the old one ($1 table, $2 schema): LIKE makes up
-- their names, and makes all of them bigint
SELECT s.statement
FROM pg_class o
JOIN pg_class w ON w.oid = to_regclass(format('%I.%I', $2::text, o.relname))
JOIN pg_attribute oa ON oa.attrelid = o.oid AND oa.attidentity <> '' AND NOT oa.attisdropped
JOIN pg_attribute na ON na.attrelid = w.oid AND na.attname = oa.attname AND NOT na.attisdropped
JOIN pg_depend od ON od.refclassid = 'pg_class'::regclass AND od.refobjid = o.oid
     AND od.refobjsubid = oa.attnum AND od.classid = 'pg_class'::regclass AND od.deptype = 'i'
JOIN pg_class os ON os.oid = od.objid AND os.relkind = 'S'
JOIN pg_sequence oq ON oq.seqrelid = os.oid
JOIN pg_depend nd ON nd.refclassid = 'pg_class'::regclass AND nd.refobjid = w.oid
     AND nd.refobjsubid = na.attnum AND nd.classid = 'pg_class'::regclass AND nd.deptype = 'i'
JOIN pg_class ns ON ns.oid = nd.objid AND ns.relkind = 'S'
JOIN pg_sequence nq ON nq.seqrelid = ns.oid
CROSS JOIN LATERAL (
    SELECT 1 AS place, format('ALTER SEQUENCE %I.%I AS %s', $2::text, ns.relname,
                              format_type(oq.seqtypid, NULL)) AS statement
    WHERE nq.seqtypid <> oq.seqtypid
    UNION ALL
    SELECT 2, format('ALTER SEQUENCE %I.%I RENAME TO %I', $2::text, ns.relname, os.relname)
    WHERE ns.relname <> os.relname
    UNION ALL
    SELECT 3, format('COMMENT ON SEQUENCE %I.%I IS %L', $2::text, os.relname,
                     obj_description(os.oid, 'pg_class'))
    WHERE obj_description(os.oid, 'pg_class') IS NOT NULL
) s
WHERE o.oid = to_regclass($1)
ORDER BY oa.attnum, s.place
