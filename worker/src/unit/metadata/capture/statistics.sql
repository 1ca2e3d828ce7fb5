-- capture an extended statistics object ($1 oid)
SELECT statement
FROM pg_statistic_ext e
JOIN pg_namespace n ON n.oid = e.stxnamespace
CROSS JOIN LATERAL (
    SELECT 1 AS place, pg_get_statisticsobjdef(e.oid) AS statement
    UNION ALL
    SELECT 2, format('ALTER STATISTICS %I.%I OWNER TO %I', n.nspname, e.stxname,
                     pg_get_userbyid(e.stxowner))
    UNION ALL
    SELECT 3, format('ALTER STATISTICS %I.%I SET STATISTICS %s', n.nspname, e.stxname,
                     e.stxstattarget)
    WHERE e.stxstattarget >= 0
    UNION ALL
    SELECT 4, format('COMMENT ON STATISTICS %I.%I IS %L', n.nspname, e.stxname,
                     obj_description(e.oid, 'pg_statistic_ext'))
) s
WHERE e.oid = $1::text::oid
ORDER BY s.place
