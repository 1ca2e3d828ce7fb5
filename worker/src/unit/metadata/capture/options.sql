-- capture storage parameters, those of the TOAST table included ($1 relation)
SELECT format('ALTER %s %I.%I SET (%s)',
              CASE c.relkind WHEN 'i' THEN 'INDEX' WHEN 'v' THEN 'VIEW'
                             WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END,
              n.nspname, c.relname, o.options) AS statement
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
CROSS JOIN LATERAL (
    SELECT string_agg(option, ', ') AS options
    FROM (SELECT unnest(c.reloptions) UNION ALL SELECT 'toast.' || unnest(t.reloptions)) x (option)
) o
WHERE c.oid = to_regclass($1) AND o.options IS NOT NULL
