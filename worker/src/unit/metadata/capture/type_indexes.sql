-- indexes of a table with expressions or a predicate over a column, those of constraints left out
-- ($1 table, $2 column)
SELECT format('%I.%I', n.nspname, i.relname) AS statement
FROM pg_attribute a
JOIN pg_index x ON x.indrelid = a.attrelid AND (x.indexprs IS NOT NULL OR x.indpred IS NOT NULL)
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE a.attrelid = to_regclass($1) AND a.attname = $2 AND NOT a.attisdropped
  AND EXISTS (SELECT FROM pg_depend d
              WHERE d.classid = 'pg_class'::regclass AND d.objid = i.oid
                AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid
                AND d.refobjsubid = a.attnum)
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.oid AND k.contype IN ('p', 'u', 'x'))
ORDER BY i.oid
