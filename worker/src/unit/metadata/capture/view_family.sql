-- a view and the views that are built on it, each after those it needs ($1 view)
WITH RECURSIVE family AS (
    SELECT to_regclass($1)::oid AS oid, 0 AS depth WHERE to_regclass($1) IS NOT NULL
    UNION
    SELECT r.ev_class, f.depth + 1
    FROM family f
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = f.oid
         AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid AND r.rulename = '_RETURN' AND r.ev_class <> f.oid
)
SELECT format('%I.%I', n.nspname, c.relname) AS statement
FROM (SELECT oid, max(depth) AS depth FROM family GROUP BY oid) f
JOIN pg_class c ON c.oid = f.oid
JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY f.depth, c.oid
