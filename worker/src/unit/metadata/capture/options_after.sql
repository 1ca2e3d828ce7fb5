-- storage parameters as they are now, to be reset first ($1 relation)
SELECT format('ALTER %s %I.%I RESET (%s)',
              CASE c.relkind WHEN 'i' THEN 'INDEX' WHEN 'v' THEN 'VIEW'
                             WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END,
              n.nspname, c.relname, o.options) AS statement
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
CROSS JOIN LATERAL (
    SELECT string_agg(split_part(option, '=', 1), ', ') AS options
    FROM (SELECT unnest(c.reloptions) UNION ALL SELECT 'toast.' || unnest(t.reloptions)) x (option)
) o
WHERE c.oid = to_regclass($1) AND o.options IS NOT NULL
