-- everything that depends on an object, near or far ($1 class, $2 oid, $3 column number or 0)
WITH RECURSIVE dependent AS (
    SELECT d.classid, d.objid, d.objsubid, 1 AS depth
    FROM pg_depend d
    WHERE d.refclassid = $1::text::regclass AND d.refobjid = $2::bigint::oid
      AND (d.refobjsubid = $3 OR $3 = 0) AND d.deptype <> 'e'
      AND NOT (d.classid = $1::text::regclass AND d.objid = $2::bigint::oid AND d.objsubid = $3)
    UNION
    SELECT d.classid, d.objid, d.objsubid, p.depth + 1
    FROM dependent p
    JOIN pg_depend d ON d.refclassid = p.classid AND d.refobjid = p.objid
         AND (d.refobjsubid = p.objsubid OR p.objsubid = 0) AND d.deptype <> 'e'
    WHERE p.depth < 64
    UNION
    -- A view's rule is a part of the view (deptype i, the other way round).
    SELECT 'pg_class'::regclass::oid, r.ev_class, 0, p.depth + 1
    FROM dependent p
    JOIN pg_rewrite r ON p.classid = 'pg_rewrite'::regclass AND r.oid = p.objid
         AND r.rulename = '_RETURN'
    WHERE p.depth < 64
)
SELECT classid::regclass::text AS class, objid::bigint AS oid, objsubid AS part, max(depth) AS depth,
       pg_describe_object(classid, objid, objsubid) AS description
FROM dependent
GROUP BY classid, objid, objsubid
