-- upshift: read triggers
SELECT t.tgrelid::bigint AS relation,
       t.tgname::text AS name,
       t.tgenabled IN ('O', 'A') AS enabled,
       t.tgtype::integer AS events,
       t.tgattr::text AS update_of
FROM pg_catalog.pg_trigger AS t
WHERE NOT t.tgisinternal
ORDER BY t.tgrelid, t.tgname
