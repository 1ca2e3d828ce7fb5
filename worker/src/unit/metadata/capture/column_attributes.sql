-- capture a column's storage, compression, statistics target and options ($1 table, $2 column)
SELECT format('ALTER TABLE %I.%I ALTER COLUMN %I %s', n.nspname, c.relname, a.attname, s.change)
           AS statement
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $2 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
CROSS JOIN LATERAL (
    SELECT 1 AS place, 'SET STORAGE ' || CASE a.attstorage
        WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END
        AS change
    WHERE c.relkind IN ('r', 'p', 'm', 'f')
    UNION ALL
    SELECT 2, 'SET COMPRESSION '
              || CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' ELSE 'default' END
    WHERE c.relkind IN ('r', 'p', 'm') AND t.typstorage <> 'p'
    UNION ALL
    SELECT 3, 'SET STATISTICS ' || coalesce(a.attstattarget, -1)
    UNION ALL
    SELECT 4, format('SET (%s)', array_to_string(a.attoptions, ', '))
    WHERE a.attoptions IS NOT NULL
) s
WHERE c.oid = to_regclass($1)
ORDER BY s.place
