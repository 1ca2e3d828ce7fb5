-- the names of identity sequences of a new table as those of the old one ($1 table, $2 schema)
SELECT format('ALTER SEQUENCE %I.%I RENAME TO %I', $2::text, ns.relname, os.relname) AS statement
FROM pg_class o
JOIN pg_class w ON w.oid = to_regclass(format('%I.%I', $2::text, o.relname))
JOIN pg_attribute oa ON oa.attrelid = o.oid AND oa.attidentity <> '' AND NOT oa.attisdropped
JOIN pg_attribute na ON na.attrelid = w.oid AND na.attname = oa.attname AND NOT na.attisdropped
JOIN pg_depend od ON od.refclassid = 'pg_class'::regclass AND od.refobjid = o.oid
     AND od.refobjsubid = oa.attnum AND od.classid = 'pg_class'::regclass AND od.deptype = 'i'
JOIN pg_class os ON os.oid = od.objid AND os.relkind = 'S'
JOIN pg_depend nd ON nd.refclassid = 'pg_class'::regclass AND nd.refobjid = w.oid
     AND nd.refobjsubid = na.attnum AND nd.classid = 'pg_class'::regclass AND nd.deptype = 'i'
JOIN pg_class ns ON ns.oid = nd.objid AND ns.relkind = 'S'
WHERE o.oid = to_regclass($1) AND ns.relname <> os.relname
