-- everything that depends on an object, near or far ($1 class, $2 oid, $3 column number or 0)
WITH RECURSIVE dependent AS (
    SELECT d.classid, d.objid, d.objsubid, 1 AS depth
    FROM pg_depend d
    WHERE d.refclassid = $1::text::regclass AND d.refobjid = $2::bigint::oid
      AND (d.refobjsubid = $3 OR $3 = 0) AND d.deptype <> 'e'
      AND NOT (d.classid = $1::text::regclass AND d.objid = $2::bigint::oid AND d.objsubid = $3)
    UNION
    SELECT n.classid, n.objid, n.objsubid, p.depth + 1
    FROM dependent p
    CROSS JOIN LATERAL (
        -- A view's rule is a part of the view (deptype i): from the rule one comes to the view, not
        -- back again.
        SELECT d.classid, d.objid, d.objsubid
        FROM pg_depend d
        WHERE d.refclassid = p.classid AND d.refobjid = p.objid
          AND (d.refobjsubid = p.objsubid OR p.objsubid = 0) AND d.deptype <> 'e'
          AND NOT (d.classid = 'pg_rewrite'::regclass AND d.deptype = 'i')
        UNION ALL
        SELECT 'pg_class'::regclass::oid, r.ev_class, 0
        FROM pg_rewrite r
        WHERE p.classid = 'pg_rewrite'::regclass AND r.oid = p.objid AND r.rulename = '_RETURN'
    ) n
    WHERE p.depth < 64
)
SELECT classid::regclass::text AS class, objid::bigint AS oid, objsubid AS part, max(depth) AS depth,
       pg_describe_object(classid, objid, objsubid) AS description
FROM dependent
GROUP BY classid, objid, objsubid
