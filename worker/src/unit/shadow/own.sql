-- owner, row-level security and privileges of a table for its successor ($1 table, $2 schema of the
-- new one, which has the same name); what ALTER DEFAULT PRIVILEGES gave it is taken away first
SELECT statement
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT format('%I.%I', $2::text, c.relname) AS name) new
JOIN pg_class w ON w.oid = to_regclass(new.name)
CROSS JOIN LATERAL (
    SELECT 1 AS place, 0 AS part, format('ALTER TABLE %s OWNER TO %I', new.name,
                                         pg_get_userbyid(c.relowner)) AS statement
    WHERE c.relowner <> w.relowner
    UNION ALL
    SELECT 2, 0, format('REVOKE ALL ON TABLE %s FROM %s', new.name,
                        CASE g.grantee WHEN 0 THEN 'PUBLIC'
                                       ELSE quote_ident(pg_get_userbyid(g.grantee)) END)
    FROM (SELECT x.grantee FROM aclexplode(w.relacl) x
          UNION SELECT c.relowner WHERE c.relacl IS NOT NULL) g
    UNION ALL
    -- In the order in which they stand: pg_dump writes them so.
    SELECT 3, g.number::integer, format('GRANT %s ON TABLE %s TO %s%s', g.privileges, new.name,
                        CASE g.grantee WHEN 0 THEN 'PUBLIC'
                                       ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
                        CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM (SELECT x.grantee, x.is_grantable, min(x.number) AS number,
                 string_agg(x.privilege_type, ', ' ORDER BY x.number) AS privileges
          FROM aclexplode(CASE WHEN w.relacl IS NOT NULL AND c.relacl IS NULL
                               THEN acldefault('r', c.relowner) ELSE c.relacl END)
               WITH ORDINALITY x (grantor, grantee, privilege_type, is_grantable, number)
          GROUP BY x.grantee, x.is_grantable) g
    UNION ALL
    SELECT 4, a.attnum * 1000 + x.number::integer,
           format('GRANT %s (%I) ON TABLE %s TO %s%s', x.privilege_type, a.attname, new.name,
                  CASE x.grantee WHEN 0 THEN 'PUBLIC'
                                 ELSE quote_ident(pg_get_userbyid(x.grantee)) END,
                  CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_attribute a
    CROSS JOIN LATERAL aclexplode(a.attacl)
               WITH ORDINALITY x (grantor, grantee, privilege_type, is_grantable, number)
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      AND a.attname !~ '^upshift_kept_'
    UNION ALL
    SELECT 5, 0, format('ALTER TABLE %s %s ROW LEVEL SECURITY', new.name, s.state)
    FROM (SELECT 'ENABLE' AS state WHERE c.relrowsecurity
          UNION ALL SELECT 'FORCE' WHERE c.relforcerowsecurity) s
) s
WHERE c.oid = to_regclass($1)
ORDER BY s.place, s.part
