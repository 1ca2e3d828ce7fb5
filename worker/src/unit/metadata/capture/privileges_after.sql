-- privileges as they are now, to be revoked first ($1 relation)
SELECT DISTINCT format('REVOKE ALL ON %s %I.%I FROM %s CASCADE',
              CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, c.relname,
              CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END)
           AS statement
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT c.relowner AS grantee
    UNION
    SELECT x.grantee FROM aclexplode(c.relacl) x
    UNION
    SELECT x.grantee FROM pg_attribute a CROSS JOIN LATERAL aclexplode(a.attacl) x
    WHERE a.attrelid = c.oid AND NOT a.attisdropped
    UNION
    -- What ALTER DEFAULT PRIVILEGES gives to a relation that is made again.
    SELECT x.grantee FROM pg_default_acl d CROSS JOIN LATERAL aclexplode(d.defaclacl) x
    WHERE d.defaclobjtype = CASE c.relkind WHEN 'S' THEN 'S' ELSE 'r' END::"char"
) g
WHERE c.oid = to_regclass($1)
