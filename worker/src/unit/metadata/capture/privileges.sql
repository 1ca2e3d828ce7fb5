-- capture privileges on a relation and its columns ($1 relation); what is there at the time is revoked
-- before. A grant by another role than the owner is made as that role.
WITH relation AS (
    SELECT c.oid, n.nspname, c.relname, c.relowner,
           CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS class,
           coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char",
                                         c.relowner)) AS acl
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = to_regclass($1)
), entry AS (
    SELECT r.*, NULL::name AS attname, x.*
    FROM relation r CROSS JOIN LATERAL aclexplode(r.acl) x
    UNION ALL
    SELECT r.*, a.attname, x.*
    FROM relation r
    JOIN pg_attribute a ON a.attrelid = r.oid AND NOT a.attisdropped AND a.attacl IS NOT NULL
    CROSS JOIN LATERAL aclexplode(a.attacl) x
), statement AS (
    SELECT grantor, relowner, is_grantable, attname, grantee,
           format('GRANT %s ON %s %I.%I TO %s%s',
                  string_agg(privilege_type || CASE WHEN attname IS NULL THEN '' ELSE format(' (%I)', attname) END, ', '
                             ORDER BY privilege_type),
                  class, nspname, relname,
                  CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
                  CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS text
    FROM entry
    GROUP BY grantor, relowner, is_grantable, attname, grantee, class, nspname, relname
)
SELECT CASE WHEN grantor = relowner THEN text
            ELSE format('SET LOCAL ROLE %I; %s; SET LOCAL ROLE %s', pg_get_userbyid(grantor), text,
                        CASE current_setting('role') WHEN 'none' THEN 'none'
                             ELSE quote_ident(current_setting('role')) END) END AS statement
FROM statement
ORDER BY grantor <> relowner, attname IS NOT NULL, is_grantable DESC, attname, grantee
