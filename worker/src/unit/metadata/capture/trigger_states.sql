-- capture whether each trigger is enabled ($1 table); those of constraints only a superuser can change
SELECT format('ALTER TABLE %I.%I %s TRIGGER %I', n.nspname, c.relname,
              CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA'
                               WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE' END, t.tgname)
           AS statement
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_trigger t ON t.tgrelid = c.oid
WHERE c.oid = to_regclass($1)
  AND (NOT t.tgisinternal OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user))
ORDER BY t.tgname
