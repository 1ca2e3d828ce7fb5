-- capture a column's identity ($1 table, $2 column); its sequence's state and privileges apart
SELECT statement
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $2 AND NOT a.attisdropped
LEFT JOIN LATERAL (
    SELECT s.*, sc.oid AS sequence, sc.relname, sn.nspname
    FROM pg_depend d
    JOIN pg_class sc ON sc.oid = d.objid AND sc.relkind = 'S'
    JOIN pg_namespace sn ON sn.oid = sc.relnamespace
    JOIN pg_sequence s ON s.seqrelid = sc.oid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid = c.oid AND d.refobjsubid = a.attnum AND d.deptype = 'i'
) s ON true
CROSS JOIN LATERAL (
    SELECT 1 AS place, format('ALTER TABLE %I.%I ALTER COLUMN %I DROP IDENTITY IF EXISTS',
                              n.nspname, c.relname, a.attname) AS statement
    UNION ALL
    SELECT 2, format(
        'ALTER TABLE %I.%I ALTER COLUMN %I ADD GENERATED %s AS IDENTITY (SEQUENCE NAME %I.%I '
        'INCREMENT BY %s MINVALUE %s MAXVALUE %s START WITH %s CACHE %s %s)',
        n.nspname, c.relname, a.attname,
        CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END,
        s.nspname, s.relname, s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache,
        CASE WHEN s.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END)
    WHERE s.sequence IS NOT NULL
    UNION ALL
    SELECT 3, format('COMMENT ON SEQUENCE %I.%I IS %L', s.nspname, s.relname,
                     obj_description(s.sequence, 'pg_class'))
    WHERE obj_description(s.sequence, 'pg_class') IS NOT NULL
) u
WHERE c.oid = to_regclass($1)
ORDER BY u.place
