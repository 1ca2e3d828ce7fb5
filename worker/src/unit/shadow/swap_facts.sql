-- what the swap of a table has to take along ($1 table): one row for each thing
SELECT s.kind, s.object, s.name, s.definition, s.valid, s.remark
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    -- Its own foreign keys, and those of other tables that point at it.
    SELECT CASE WHEN k.conrelid = c.oid THEN 'own_key' ELSE 'key' END AS kind, k.oid,
           format('%I.%I', kn.nspname, kc.relname) AS object, k.conname::text AS name,
           pg_get_constraintdef(k.oid) AS definition, k.convalidated AS valid,
           obj_description(k.oid, 'pg_constraint') AS remark
    FROM pg_constraint k
    JOIN pg_class kc ON kc.oid = k.conrelid
    JOIN pg_namespace kn ON kn.oid = kc.relnamespace
    WHERE k.contype = 'f' AND c.oid IN (k.conrelid, k.confrelid) AND k.conparentid = 0
    UNION ALL
    SELECT 'trigger', t.oid, format('%I.%I', n.nspname, c.relname), t.tgname::text,
           pg_get_triggerdef(t.oid), true, obj_description(t.oid, 'pg_trigger')
    FROM pg_trigger t
    WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
    UNION ALL
    SELECT 'trigger_state', t.oid, format('%I.%I', n.nspname, c.relname), t.tgname::text,
           CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA'
                            ELSE 'ENABLE ALWAYS' END, true, NULL
    FROM pg_trigger t
    WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
      AND t.tgenabled <> 'O'
    UNION ALL
    SELECT 'partition', p.oid, format('%I.%I', pn.nspname, p.relname),
           pg_get_partition_constraintdef(c.oid), pg_get_expr(c.relpartbound, c.oid), true, NULL
    FROM pg_inherits i
    JOIN pg_class p ON p.oid = i.inhparent AND p.relkind = 'p'
    JOIN pg_namespace pn ON pn.oid = p.relnamespace
    WHERE i.inhrelid = c.oid
    UNION ALL
    -- In their order.
    SELECT 'parent', i.inhseqno::oid, format('%I.%I', pn.nspname, p.relname), p.relname::text, NULL, true,
           NULL
    FROM pg_inherits i
    JOIN pg_class p ON p.oid = i.inhparent AND p.relkind = 'r'
    JOIN pg_namespace pn ON pn.oid = p.relnamespace
    WHERE i.inhrelid = c.oid
    UNION ALL
    -- What the table has from its parents.
    SELECT 'stand_in', c.oid, '', '', (
               SELECT string_agg(x.item, ', ' ORDER BY x.place, x.part)
               FROM (
                   SELECT 1 AS place, a.attnum::bigint AS part,
                          format('%I %s%s', a.attname, format_type(a.atttypid, a.atttypmod),
                                 (SELECT format(' COLLATE %I.%I', ln.nspname, l.collname)
                                  FROM pg_collation l JOIN pg_namespace ln ON ln.oid = l.collnamespace
                                  WHERE l.oid = a.attcollation AND l.oid <> t.typcollation)) AS item
                   FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                   WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.attinhcount > 0
                   UNION ALL
                   SELECT 2, k.oid::bigint, format('CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid))
                   FROM pg_constraint k
                   WHERE k.conrelid = c.oid AND k.contype IN ('c', 'n') AND k.coninhcount > 0
               ) x), true, NULL
    WHERE EXISTS (SELECT FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent AND p.relkind = 'r'
                  WHERE i.inhrelid = c.oid)
    UNION ALL
    SELECT 'rule', r.oid, format('%I.%I', n.nspname, c.relname), r.rulename::text,
           pg_get_ruledef(r.oid), true, obj_description(r.oid, 'pg_rewrite')
    FROM pg_rewrite r WHERE r.ev_class = c.oid
    UNION ALL
    SELECT 'rule_state', r.oid, format('%I.%I', n.nspname, c.relname), r.rulename::text,
           CASE r.ev_enabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA'
                             ELSE 'ENABLE ALWAYS' END, true, NULL
    FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_enabled <> 'O'
    UNION ALL
    -- Replaced, it keeps state and comment.
    SELECT DISTINCT 'other_rule', r.oid, format('%I.%I', vn.nspname, v.relname), r.rulename::text,
           regexp_replace(pg_get_ruledef(r.oid), '^CREATE RULE', 'CREATE OR REPLACE RULE'), true, NULL
    FROM pg_depend d
    JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_type <> '1'
    JOIN pg_class v ON v.oid = r.ev_class AND v.oid <> c.oid
    JOIN pg_namespace vn ON vn.oid = v.relnamespace
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid = c.oid
    UNION ALL
    SELECT 'publication', m.oid, quote_ident(p.pubname), p.pubname::text,
           format('%I.%I', n.nspname, c.relname) || coalesce(' (' || l.columns || ')', '')
           || coalesce(' WHERE (' || m15.filter || ')', ''), true, NULL
    FROM pg_publication_rel m
    JOIN pg_publication p ON p.oid = m.prpubid
    -- Where PostgreSQL 14 has no such column, the name means that of the row around it.
    CROSS JOIN (SELECT NULL::int2vector AS prattrs, NULL::pg_node_tree AS prqual) m14
    CROSS JOIN LATERAL (
        SELECT (SELECT prattrs::text FROM pg_publication_rel x WHERE x.oid = m.oid) AS attributes,
               (SELECT pg_get_expr(prqual, x.prrelid) FROM pg_publication_rel x WHERE x.oid = m.oid)
                   AS filter
    ) m15
    CROSS JOIN LATERAL (
        SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) AS columns
        FROM pg_attribute a
        WHERE a.attrelid = c.oid
          AND a.attnum = ANY (string_to_array(m15.attributes, ' ')::smallint[])
    ) l
    WHERE m.prrelid = c.oid
    UNION ALL
    -- Another row type is another signature: such a function is made anew, others are replaced.
    SELECT CASE WHEN f.typed THEN 'typed_function' ELSE 'function' END, f.oid, f.signature,
           f.proname::text,
           pg_get_functiondef(f.oid)
           || CASE WHEN f.typed THEN coalesce((
                  SELECT string_agg('; ' || x.statement, '' ORDER BY x.place, x.part)
                  FROM (
                      SELECT 1 AS place, 0::bigint AS part,
                             format('ALTER %s OWNER TO %I', f.signature, pg_get_userbyid(f.proowner))
                                 AS statement
                      WHERE pg_get_userbyid(f.proowner) <> current_user
                      UNION ALL
                      SELECT 2, g.grantee::bigint,
                             format('REVOKE ALL ON %s FROM %s', f.signature,
                                    CASE g.grantee WHEN 0 THEN 'PUBLIC'
                                         ELSE quote_ident(pg_get_userbyid(g.grantee)) END)
                      FROM (SELECT f.proowner AS grantee UNION SELECT 0::oid
                            UNION
                            SELECT e.grantee FROM pg_default_acl a CROSS JOIN aclexplode(a.defaclacl) e
                            WHERE a.defaclobjtype = 'f') g
                      WHERE f.granted
                      UNION ALL
                      SELECT 3, e.number, format('GRANT EXECUTE ON %s TO %s%s', f.signature,
                             CASE e.grantee WHEN 0 THEN 'PUBLIC'
                                  ELSE quote_ident(pg_get_userbyid(e.grantee)) END,
                             CASE WHEN e.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
                      FROM aclexplode(coalesce(f.proacl, acldefault('f', f.proowner)))
                           WITH ORDINALITY e (grantor, grantee, privilege_type, is_grantable, number)
                      WHERE f.granted
                      UNION ALL
                      SELECT 4, 0, format('COMMENT ON %s IS %L', f.signature,
                                          obj_description(f.oid, 'pg_proc'))
                      WHERE obj_description(f.oid, 'pg_proc') IS NOT NULL
                  ) x), '')
              ELSE '' END, true, NULL
    FROM (
        SELECT p.oid, p.proname, p.proowner, p.proacl,
               ARRAY[c.reltype, ct.typarray]
               && array_prepend(p.prorettype, coalesce(p.proallargtypes, p.proargtypes::oid[])) AS typed,
               format('%s %I.%I(%s)', CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END,
                      pn.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS signature,
               p.proacl IS NOT NULL
               OR EXISTS (SELECT FROM pg_default_acl a WHERE a.defaclobjtype = 'f') AS granted
        FROM pg_proc p
        JOIN pg_namespace pn ON pn.oid = p.pronamespace
        JOIN pg_type ct ON ct.oid = c.reltype
        WHERE p.prokind IN ('f', 'p') AND p.oid IN (
            SELECT d.objid FROM pg_depend d
            WHERE d.classid = 'pg_proc'::regclass
              AND (d.refclassid, d.refobjid) IN (('pg_class'::regclass, c.oid),
                  ('pg_type'::regclass, c.reltype), ('pg_type'::regclass, ct.typarray)))
    ) f
    UNION ALL
    SELECT 'sequence', q.oid, format('%I.%I', qn.nspname, q.relname), a.attname::text, NULL, true, NULL
    FROM pg_depend d
    JOIN pg_class q ON q.oid = d.objid AND q.relkind = 'S'
    JOIN pg_namespace qn ON qn.oid = q.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid = c.oid AND d.deptype = 'a'
    UNION ALL
    SELECT 'identity', q.oid, format('%I.%I', qn.nspname, q.relname), q.relname::text, NULL, true, NULL
    FROM pg_depend d
    JOIN pg_class q ON q.oid = d.objid AND q.relkind = 'S'
    JOIN pg_namespace qn ON qn.oid = q.relnamespace
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid = c.oid AND d.deptype = 'i'
    UNION ALL
    SELECT 'statistics', e.oid, quote_ident(en.nspname), e.stxname::text, NULL, true, NULL
    FROM pg_statistic_ext e JOIN pg_namespace en ON en.oid = e.stxnamespace
    WHERE e.stxrelid = c.oid
    UNION ALL
    SELECT DISTINCT 'view', v.oid, format('%I.%I', vn.nspname, v.relname), v.relname::text,
           format('CREATE OR REPLACE VIEW %I.%I (%s)%s AS %s', vn.nspname, v.relname,
                  (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
                   FROM pg_attribute a WHERE a.attrelid = v.oid AND a.attnum > 0),
                  coalesce(' WITH (' || array_to_string(v.reloptions, ', ') || ')', ''),
                  rtrim(pg_get_viewdef(v.oid), ';')), true, NULL
    FROM pg_depend d
    JOIN pg_rewrite r ON r.oid = d.objid
    JOIN pg_class v ON v.oid = r.ev_class AND v.relkind = 'v'
    JOIN pg_namespace vn ON vn.oid = v.relnamespace
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid = c.oid
) s
WHERE c.oid = to_regclass($1)
ORDER BY s.kind, s.oid
