-- upshift: read what a shadow pass points at a new table, other tables and views apart
SELECT DISTINCT d.refobjid::bigint AS relation, 'rule' AS kind, r.rulename::text AS name,
       r.ev_class::bigint AS other, true AS columns
FROM pg_catalog.pg_depend AS d
JOIN pg_catalog.pg_rewrite AS r ON r.oid = d.objid
WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass
  AND d.refclassid = 'pg_catalog.pg_class'::regclass
  AND r.ev_type <> '1' AND r.ev_class <> d.refobjid
UNION ALL
SELECT c.oid::bigint, 'function', p.proname::text, NULL, pg_catalog.bool_or(d.columns)
FROM (
    SELECT d.objid, d.refobjid AS relation, true AS columns
    FROM pg_catalog.pg_depend AS d
    WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
    UNION ALL
    SELECT d.objid, coalesce(e.typrelid, t.typrelid), false
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_type AS t ON t.oid = d.refobjid
    LEFT JOIN pg_catalog.pg_type AS e ON e.typarray = t.oid
    WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.refclassid = 'pg_catalog.pg_type'::regclass
) AS d
JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
JOIN pg_catalog.pg_class AS c ON c.oid = d.relation
GROUP BY c.oid, p.oid, p.proname
UNION ALL
SELECT i.inhrelid::bigint, 'parent', p.relname::text, NULL, false
FROM pg_catalog.pg_inherits AS i
JOIN pg_catalog.pg_class AS p ON p.oid = i.inhparent AND p.relkind IN ('p', 'r')
UNION ALL
-- A partition may be published as rows of its root. Column lists and row filters (PostgreSQL 15) depend
-- on the columns that they name.
SELECT f.oid::bigint, 'publication', p.pubname::text, NULL, EXISTS (
           SELECT FROM pg_catalog.pg_publication_rel AS m
           JOIN pg_catalog.pg_depend AS d
             ON d.classid = 'pg_catalog.pg_publication_rel'::regclass AND d.objid = m.oid
            AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjsubid > 0
           WHERE m.prpubid = p.oid AND m.prrelid = c.oid)
FROM pg_catalog.pg_publication AS p
JOIN pg_catalog.pg_publication_tables AS t ON t.pubname = p.pubname
JOIN pg_catalog.pg_namespace AS n ON n.nspname = t.schemaname
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = t.tablename
CROSS JOIN LATERAL (
    SELECT c.oid WHERE c.relkind <> 'p'
    UNION ALL
    SELECT l.relid FROM pg_catalog.pg_partition_tree(c.oid) AS l WHERE c.relkind = 'p' AND l.isleaf
) AS f
ORDER BY 1, 2, 3
