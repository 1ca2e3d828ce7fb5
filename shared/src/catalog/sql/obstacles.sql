-- upshift: read what a shadow pass could not carry over to a new table
-- Whatever depends on a table, its columns or its row type (pg_depend), apart from what the pass is
-- known to carry: indexes, sequences, defaults, constraints, foreign keys both ways, triggers,
-- policies, extended statistics, views, rules, publications, functions. What is on other objects has to be
-- changed with them, so the role that connects must be their owner, or a member of it.
WITH ordinary AS (
    SELECT c.oid, c.reltype, c.relam, c.reloftype, t.typarray
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_type AS t ON t.oid = c.reltype
    WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND n.nspname !~ '^upshift(_kept.*)?$' /* of one table */
), functions AS (
    SELECT o.oid AS relation, d.objid AS oid
    FROM ordinary AS o
    JOIN pg_catalog.pg_depend AS d
      ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = o.oid
    WHERE d.classid = 'pg_catalog.pg_proc'::regclass
    UNION
    SELECT o.oid, d.objid
    FROM ordinary AS o
    JOIN pg_catalog.pg_depend AS d
      ON d.refclassid = 'pg_catalog.pg_type'::regclass AND d.refobjid IN (o.reltype, o.typarray)
    WHERE d.classid = 'pg_catalog.pg_proc'::regclass
), unmade AS (
    -- One with the row type in its signature is made anew, any other is replaced where it is.
    SELECT f.relation, f.oid, CASE
        WHEN p.prokind NOT IN ('f', 'p') THEN ', which is made of other functions'
        WHEN NOT pg_catalog.pg_has_role(p.proowner, 'USAGE')
            THEN ', which belongs to ' || pg_catalog.pg_get_userbyid(p.proowner)
        WHEN NOT l.lanpltrusted OR NOT pg_catalog.has_language_privilege(l.oid, 'USAGE')
            OR p.proleakproof OR p.prosupport <> 0 OR EXISTS (
                SELECT FROM unnest(p.proconfig) AS s (setting)
                WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_settings AS g
                                  WHERE g.context = 'user' AND g.name = split_part(s.setting, '=', 1)))
            THEN ', which only a superuser could make'
        WHEN NOT pg_catalog.has_schema_privilege(p.pronamespace, 'CREATE')
            OR NOT pg_catalog.has_schema_privilege(p.proowner, p.pronamespace, 'CREATE')
            THEN ', in whose schema its owner could not make it'
        WHEN EXISTS (SELECT FROM pg_catalog.aclexplode(p.proacl) AS x WHERE x.grantor <> p.proowner)
            THEN ', with privileges that others than its owner granted'
        WHEN EXISTS (SELECT FROM pg_catalog.pg_seclabel AS s
                     WHERE s.classoid = 'pg_catalog.pg_proc'::regclass AND s.objoid = p.oid)
            THEN ', which has a security label'
        WHEN EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                     WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid
                       AND d.refclassid = 'pg_catalog.pg_extension'::regclass)
            THEN ', which depends on an extension'
        WHEN ARRAY[o.reltype, o.typarray]
             && array_prepend(p.prorettype, coalesce(p.proallargtypes, p.proargtypes::oid[]))
            THEN (SELECT ', which is used by '
                         || min(pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid))
                  FROM pg_catalog.pg_depend AS d
                  WHERE d.refclassid = 'pg_catalog.pg_proc'::regclass AND d.refobjid = p.oid)
        END AS why
    FROM functions AS f
    JOIN ordinary AS o ON o.oid = f.relation
    JOIN pg_catalog.pg_proc AS p ON p.oid = f.oid
    JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
), found AS (
    SELECT o.oid, d.classid, d.objid, d.objsubid,
           CASE WHEN v.relkind = 'm'
                    THEN ', which reads the table without a view between (PostgreSQL would only make '
                         'it anew, with the rows of that moment)'
                WHEN NOT pg_catalog.pg_has_role(x.owner, 'USAGE')
                    THEN ', which belongs to ' || pg_catalog.pg_get_userbyid(x.owner)
                ELSE '' END AS why
    FROM ordinary AS o
    JOIN pg_catalog.pg_depend AS d
      ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = o.oid
    LEFT JOIN pg_catalog.pg_class AS c
      ON d.classid = 'pg_catalog.pg_class'::regclass AND c.oid = d.objid
    LEFT JOIN pg_catalog.pg_constraint AS k
      ON d.classid = 'pg_catalog.pg_constraint'::regclass AND k.oid = d.objid
    LEFT JOIN pg_catalog.pg_rewrite AS r
      ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND r.oid = d.objid
    LEFT JOIN pg_catalog.pg_class AS v ON v.oid = r.ev_class
    LEFT JOIN pg_catalog.pg_trigger AS g
      ON d.classid = 'pg_catalog.pg_trigger'::regclass AND g.oid = d.objid
    LEFT JOIN pg_catalog.pg_policy AS p
      ON d.classid = 'pg_catalog.pg_policy'::regclass AND p.oid = d.objid
    LEFT JOIN pg_catalog.pg_attrdef AS f
      ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND f.oid = d.objid
    LEFT JOIN pg_catalog.pg_publication_rel AS m
      ON d.classid = 'pg_catalog.pg_publication_rel'::regclass AND m.oid = d.objid
    LEFT JOIN pg_catalog.pg_publication AS b ON b.oid = m.prpubid
    LEFT JOIN pg_catalog.pg_class AS h ON h.oid = k.conrelid
    CROSS JOIN LATERAL (SELECT coalesce(v.relowner, b.pubowner, h.relowner) AS owner) AS x
    WHERE NOT coalesce(CASE d.classid
        WHEN 'pg_catalog.pg_class'::regclass
            THEN c.oid = o.oid OR c.relkind IN ('i', 't') OR (c.relkind = 'S' AND d.deptype IN ('a', 'i'))
        WHEN 'pg_catalog.pg_constraint'::regclass
            THEN k.conrelid = o.oid OR (k.contype = 'f' AND k.confrelid = o.oid
                                        AND pg_catalog.pg_has_role(x.owner, 'USAGE'))
        WHEN 'pg_catalog.pg_rewrite'::regclass
            THEN v.oid = o.oid OR (v.relkind IN ('r', 'p', 'v') AND pg_catalog.pg_has_role(x.owner, 'USAGE'))
        WHEN 'pg_catalog.pg_publication_rel'::regclass THEN pg_catalog.pg_has_role(x.owner, 'USAGE')
        WHEN 'pg_catalog.pg_trigger'::regclass THEN g.tgisinternal OR (g.tgrelid = o.oid AND g.tgconstrrelid = 0)
        -- A query in it may mention the table by its full name.
        WHEN 'pg_catalog.pg_policy'::regclass THEN p.polrelid = o.oid
            AND concat(p.polqual, p.polwithcheck) !~ '[{]SUBLINK'
        WHEN 'pg_catalog.pg_attrdef'::regclass THEN f.adrelid = o.oid
        WHEN 'pg_catalog.pg_type'::regclass THEN d.deptype = 'i'
        WHEN 'pg_catalog.pg_statistic_ext'::regclass THEN true
        WHEN 'pg_catalog.pg_proc'::regclass THEN true -- unless it is in unmade
        ELSE false
    END, false)
    UNION ALL
    SELECT o.oid, d.classid, d.objid, d.objsubid, ''
    FROM ordinary AS o
    JOIN pg_catalog.pg_depend AS d
      ON d.refclassid = 'pg_catalog.pg_type'::regclass AND d.refobjid IN (o.reltype, o.typarray)
    WHERE d.deptype <> 'i' AND d.classid <> 'pg_catalog.pg_proc'::regclass
    UNION ALL
    SELECT relation, 'pg_catalog.pg_proc'::regclass::oid, oid, 0, why FROM unmade WHERE why IS NOT NULL
), said AS (
    SELECT oid, pg_catalog.pg_describe_object(classid, objid, objsubid) || why AS obstacle FROM found
    UNION ALL
    SELECT d.objid, 'it belongs to extension ' || e.extname
    FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'e'
      AND d.refclassid = 'pg_catalog.pg_extension'::regclass
    UNION ALL
    SELECT o.oid, 'its access method is ' || a.amname
    FROM ordinary AS o JOIN pg_catalog.pg_am AS a ON a.oid = o.relam WHERE a.amname <> 'heap'
    UNION ALL
    SELECT oid, 'it is a typed table' FROM ordinary WHERE reloftype <> 0
    UNION ALL
    SELECT i.inhrelid, 'columns and constraints that it inherits from '
           || pg_catalog.pg_describe_object('pg_catalog.pg_class'::regclass, p.oid, 0) || w.why
    FROM pg_catalog.pg_inherits AS i
    JOIN pg_catalog.pg_class AS p ON p.oid = i.inhparent AND p.relkind <> 'p'
    CROSS JOIN LATERAL (SELECT CASE
        WHEN p.relkind <> 'r' THEN ''
        WHEN NOT pg_catalog.pg_has_role(p.relowner, 'USAGE')
            THEN ', which belongs to ' || pg_catalog.pg_get_userbyid(p.relowner)
        WHEN EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
                     WHERE a.attrelid = i.inhrelid AND NOT a.attisdropped
                       AND (a.attidentity <> '' OR a.attgenerated <> ''))
            THEN ', together with an identity or generated column'
        -- From PostgreSQL 18 on a primary key that is made of an index makes NOT NULL the table's own.
        WHEN EXISTS (SELECT FROM pg_catalog.pg_constraint AS k
                     JOIN pg_catalog.pg_index AS x ON x.indrelid = k.conrelid AND x.indisprimary
                     WHERE k.conrelid = i.inhrelid AND k.contype = 'n' AND NOT k.conislocal
                       AND k.conkey[1] = ANY (x.indkey::smallint[]))
            THEN ', together with a primary key on a column whose NOT NULL is only inherited'
        END AS why) AS w
    UNION ALL
    -- What comes with ATTACH PARTITION has to be what is there, and must take no scan.
    SELECT i.inhrelid, 'its place as a partition of '
           || pg_catalog.pg_describe_object('pg_catalog.pg_class'::regclass, p.oid, 0) || w.why
    FROM pg_catalog.pg_inherits AS i
    JOIN pg_catalog.pg_class AS p ON p.oid = i.inhparent AND p.relkind = 'p'
    JOIN pg_catalog.pg_partitioned_table AS b ON b.partrelid = p.oid
    CROSS JOIN LATERAL (SELECT CASE
        WHEN NOT pg_catalog.pg_has_role(p.relowner, 'USAGE')
            THEN ', which belongs to ' || pg_catalog.pg_get_userbyid(p.relowner)
        WHEN b.partdefid <> 0 THEN ', which has a default partition'
        WHEN i.inhdetachpending THEN ', which it is being detached from'
        -- Asked once for all partitions, not for each.
        WHEN i.inhrelid IN (SELECT k.conrelid FROM pg_catalog.pg_constraint AS k
                            WHERE k.contype = 'f' AND k.conparentid <> 0
                            UNION ALL
                            SELECT k.confrelid FROM pg_catalog.pg_constraint AS k
                            WHERE k.contype = 'f' AND k.conparentid <> 0)
            THEN ', which has foreign keys'
        WHEN EXISTS (SELECT FROM pg_catalog.pg_trigger AS g
                     WHERE g.tgrelid = i.inhrelid AND g.tgparentid <> 0)
            THEN ', which has triggers'
        WHEN EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
                     WHERE a.attrelid IN (p.oid, i.inhrelid) AND a.attidentity <> '')
            THEN ', together with an identity column'
        WHEN EXISTS (SELECT FROM pg_catalog.pg_index AS x
                     WHERE x.indrelid = p.oid AND NOT x.indisvalid)
            THEN ', which has an index that is not valid'
        WHEN EXISTS (SELECT FROM pg_catalog.pg_index AS x
                     JOIN pg_catalog.pg_index AS y
                       ON y.indrelid = x.indrelid AND y.indexrelid > x.indexrelid
                      AND y.indkey::text = x.indkey::text
                     WHERE x.indrelid = i.inhrelid)
            THEN ', together with two indexes on the same columns'
        END AS why) AS w
    UNION ALL
    SELECT k.conrelid, 'constraint ' || k.conname || ', which is NOT VALID'
    FROM pg_catalog.pg_constraint AS k WHERE k.contype IN ('c', 'n') AND NOT k.convalidated
    UNION ALL
    SELECT i.indrelid, 'index ' || c.relname || ', which is not valid'
    FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
    WHERE NOT i.indisvalid
    UNION ALL
    -- Only its grantor can grant it again.
    SELECT c.oid, 'privileges that ' || pg_catalog.pg_get_userbyid(a.grantor) || ' granted'
    FROM pg_catalog.pg_class AS c
    CROSS JOIN LATERAL (
        SELECT x.grantor FROM pg_catalog.aclexplode(c.relacl) AS x
        UNION ALL
        SELECT x.grantor FROM pg_catalog.pg_attribute AS t
        CROSS JOIN LATERAL pg_catalog.aclexplode(t.attacl) AS x
        WHERE t.attrelid = c.oid AND t.attacl IS NOT NULL
    ) AS a
    WHERE c.relkind = 'r' AND a.grantor <> c.relowner
    UNION ALL
    SELECT l.objoid, 'security label ' || l.provider
    FROM pg_catalog.pg_seclabel AS l WHERE l.classoid = 'pg_catalog.pg_class'::regclass
)
SELECT DISTINCT s.oid::bigint AS relation, s.obstacle::text AS obstacle
FROM said AS s JOIN ordinary AS o ON o.oid = s.oid
WHERE s.obstacle IS NOT NULL
ORDER BY 1, 2
