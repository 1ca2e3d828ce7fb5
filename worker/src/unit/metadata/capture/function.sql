-- capture a function or procedure ($1 regprocedure): definition, owner, privileges, comment
SELECT statement
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
CROSS JOIN LATERAL (
    SELECT format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid))
               AS signature,
           CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END AS class
) f
CROSS JOIN LATERAL (
    SELECT 1 AS place, 0 AS part, pg_get_functiondef(p.oid) AS statement
    UNION ALL
    SELECT 2, 0, format('ALTER %s %s OWNER TO %I', f.class, f.signature, pg_get_userbyid(p.proowner))
    UNION ALL
    SELECT DISTINCT 3, 0, format('REVOKE ALL ON %s %s FROM %s CASCADE', f.class, f.signature, g.name)
    FROM (
        SELECT quote_ident(pg_get_userbyid(p.proowner)) AS name
        UNION ALL SELECT 'PUBLIC'
        UNION ALL
        SELECT CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END
        FROM pg_default_acl d CROSS JOIN LATERAL aclexplode(d.defaclacl) x
        WHERE d.defaclobjtype = 'f'
    ) g
    UNION ALL
    SELECT 4, (x.grantor <> p.proowner)::integer,
           format('GRANT EXECUTE ON %s %s TO %s%s', f.class, f.signature,
                  CASE x.grantee WHEN 0 THEN 'PUBLIC'
                                 ELSE quote_ident(pg_get_userbyid(x.grantee)) END,
                  CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
    UNION ALL
    SELECT 5, 0, format('COMMENT ON %s %s IS %L', f.class, f.signature,
                        obj_description(p.oid, 'pg_proc'))
) s
WHERE p.oid = to_regprocedure($1)
ORDER BY s.place, s.part
