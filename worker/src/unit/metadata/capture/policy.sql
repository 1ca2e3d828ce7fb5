-- capture a row-level security policy ($1 table, $2 policy)
SELECT statement
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_policy p ON p.polrelid = c.oid AND p.polname = $2
CROSS JOIN LATERAL (
    SELECT 1 AS place, format('DROP POLICY IF EXISTS %I ON %I.%I', $2, n.nspname, c.relname)
           AS statement
    UNION ALL
    SELECT 2, format('CREATE POLICY %I ON %I.%I AS %s FOR %s TO %s', p.polname, n.nspname, c.relname,
                     CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                     CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT'
                                   WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
                     (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC'
                                               ELSE quote_ident(pg_get_userbyid(r)) END, ', ')
                      FROM unnest(p.polroles) r))
              || coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', '')
              || coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '')
    UNION ALL
    SELECT 3, format('COMMENT ON POLICY %I ON %I.%I IS %L', p.polname, n.nspname, c.relname,
                     obj_description(p.oid, 'pg_policy'))
    WHERE obj_description(p.oid, 'pg_policy') IS NOT NULL
) s
WHERE c.oid = to_regclass($1)
ORDER BY s.place
