-- upshift: read triggers
SELECT t.tgrelid::bigint AS relation,
       t.tgname::text AS name,
       t.tgenabled IN ('O', 'A') AS enabled,
       t.tgtype::integer AS events,
       t.tgattr::text AS update_of,
       t.tgisinternal AS internal
FROM pg_catalog.pg_trigger AS t
-- Up to PostgreSQL 14, what partitions have of a partitioned table's triggers is internal.
WHERE NOT t.tgisinternal OR (t.tgparentid <> 0 AND (t.tgconstraint = 0 OR EXISTS (
    SELECT FROM pg_catalog.pg_constraint AS k WHERE k.oid = t.tgconstraint AND k.contype = 't')))
ORDER BY t.tgrelid, t.tgname
