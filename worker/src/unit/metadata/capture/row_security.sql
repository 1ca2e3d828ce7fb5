-- capture row-level security of a table ($1 table)
SELECT format('ALTER TABLE %I.%I %s ROW LEVEL SECURITY, %s ROW LEVEL SECURITY', n.nspname, c.relname,
              CASE WHEN c.relrowsecurity THEN 'ENABLE' ELSE 'DISABLE' END,
              CASE WHEN c.relforcerowsecurity THEN 'FORCE' ELSE 'NO FORCE' END) AS statement
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass($1)
