-- capture what neither CREATE INDEX nor ADD CONSTRAINT says ($1 index): options, tablespace, comment,
-- statistics targets, clustering, replica identity
SELECT statement
FROM pg_class i
JOIN pg_namespace n ON n.oid = i.relnamespace
JOIN pg_index x ON x.indexrelid = i.oid
JOIN pg_class c ON c.oid = x.indrelid
JOIN pg_namespace cn ON cn.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT 1 AS place, format('ALTER INDEX %I.%I SET (%s)', n.nspname, i.relname,
                              array_to_string(i.reloptions, ', ')) AS statement
    WHERE i.reloptions IS NOT NULL
    UNION ALL
    SELECT 2, format('ALTER INDEX %I.%I SET TABLESPACE %I', n.nspname, i.relname, t.spcname)
    FROM pg_tablespace t WHERE t.oid = i.reltablespace
    UNION ALL
    SELECT 3, format('COMMENT ON INDEX %I.%I IS %L', n.nspname, i.relname,
                     obj_description(i.oid, 'pg_class'))
    WHERE obj_description(i.oid, 'pg_class') IS NOT NULL
    UNION ALL
    SELECT 4, format('ALTER INDEX %I.%I ALTER COLUMN %s SET STATISTICS %s',
                     n.nspname, i.relname, a.attnum, a.attstattarget)
    FROM pg_attribute a WHERE a.attrelid = i.oid AND a.attstattarget >= 0
    UNION ALL
    SELECT 5, format('ALTER TABLE %I.%I CLUSTER ON %I', cn.nspname, c.relname, i.relname)
    WHERE x.indisclustered
    UNION ALL
    SELECT 6, format('ALTER TABLE %I.%I REPLICA IDENTITY USING INDEX %I',
                     cn.nspname, c.relname, i.relname)
    WHERE x.indisreplident
) s
WHERE i.oid = to_regclass($1)
ORDER BY s.place
