-- a table's own CHECK and exclusion constraints over a column ($1 table, $2 column)
SELECT k.conname::text AS statement
FROM pg_attribute a
JOIN pg_constraint k ON k.conrelid = a.attrelid AND k.contype IN ('c', 'x') AND k.coninhcount = 0
WHERE a.attrelid = to_regclass($1) AND a.attname = $2 AND NOT a.attisdropped
  AND EXISTS (SELECT FROM pg_depend d
              WHERE (d.classid, d.objid) IN (('pg_constraint'::regclass, k.oid),
                                             ('pg_class'::regclass, k.conindid))
                AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid
                AND d.refobjsubid = a.attnum)
ORDER BY k.oid
