-- upshift: read constraints
SELECT o.conrelid::bigint AS relation,
       o.conname::text AS name,
       o.contype::text AS kind,
       coalesce(o.conkey, '{}') AS columns,
       o.condeferrable AS deferrable,
       o.condeferred AS deferred,
       o.convalidated AS validated,
       pg_catalog.pg_get_constraintdef(o.oid) AS definition,
       o.confrelid::bigint AS referenced,
       coalesce(o.confkey, '{}') AS referenced_columns,
       o.confdeltype::text AS on_delete,
       o.confupdtype::text AS on_update
FROM pg_catalog.pg_constraint AS o
JOIN pg_catalog.pg_class AS c ON c.oid = o.conrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND n.nspname !~ '^upshift(_kept.*)?$'
ORDER BY o.conrelid, o.conname
