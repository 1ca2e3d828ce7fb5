-- what makes an empty table like one that inherits, in a schema of its own ($1 table, $2 schema, $3
-- stand-in for its parents, who must not see it yet): in place of LIKE, after which all columns would be
-- its own
SELECT s.statement
FROM pg_class c
CROSS JOIN LATERAL (
    SELECT format('%I.%I', $2::text, c.relname) AS name, $3::text AS parent
) new
CROSS JOIN LATERAL (
    SELECT 1 AS place, 0::bigint AS part, 0 AS turn, format('CREATE TABLE %s ()', new.parent) AS statement
    UNION ALL
    SELECT 2, 0, 0, format('CREATE %sTABLE %s () INHERITS (%s)%s',
                           CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, new.name, new.parent,
                           coalesce((SELECT format(' TABLESPACE %I', t.spcname)
                                     FROM pg_tablespace t WHERE t.oid = c.reltablespace), ''))
    UNION ALL
    -- A column that is its own too is there before it is inherited.
    SELECT 3, a.attnum, x.turn,
           format('ALTER TABLE %s ADD COLUMN %I %s%s', x.owner, a.attname,
                  format_type(a.atttypid, a.atttypmod),
                  (SELECT format(' COLLATE %I.%I', ln.nspname, l.collname)
                   FROM pg_collation l JOIN pg_namespace ln ON ln.oid = l.collnamespace
                   WHERE l.oid = a.attcollation AND l.oid <> t.typcollation))
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    CROSS JOIN LATERAL (SELECT 1 AS turn, new.name AS owner WHERE a.attislocal
                        UNION ALL SELECT 2, new.parent WHERE a.attinhcount > 0) x
    WHERE a.attrelid = c.oid AND a.attnum > 0
      AND (a.attinhcount > 0 OR a.attname !~ '^upshift_kept_')
    UNION ALL
    SELECT 4, a.attnum, x.turn, format('ALTER TABLE %s ALTER COLUMN %I %s', new.name, a.attname, x.change)
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    CROSS JOIN LATERAL (
        SELECT 1 AS turn, 'SET DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) AS change
        WHERE d.adbin IS NOT NULL
        UNION ALL
        SELECT 2, 'SET STORAGE ' || CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL'
                                                      WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END
        WHERE a.attstorage <> t.typstorage
        UNION ALL
        SELECT 3, 'SET COMPRESSION ' || CASE a.attcompression WHEN 'p' THEN 'pglz' ELSE 'lz4' END
        WHERE a.attcompression <> ''
        UNION ALL
        -- From PostgreSQL 18 on it is a constraint.
        SELECT 4, 'SET NOT NULL'
        WHERE a.attnotnull AND current_setting('server_version_num')::integer < 180000
    ) x
    WHERE a.attrelid = c.oid AND a.attnum > 0
      AND (a.attinhcount > 0 OR a.attname !~ '^upshift_kept_')
    UNION ALL
    SELECT 5, k.oid::bigint, x.turn, format('ALTER TABLE %s ADD CONSTRAINT %I %s', x.owner, k.conname,
                                            pg_get_constraintdef(k.oid))
    FROM pg_constraint k
    CROSS JOIN LATERAL (SELECT 1 AS turn, new.name AS owner WHERE k.conislocal
                        UNION ALL SELECT 2, new.parent WHERE k.coninhcount > 0) x
    WHERE k.conrelid = c.oid AND k.contype IN ('c', 'n')
    UNION ALL
    SELECT 6, k.oid::bigint, 0, format('COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname, new.name,
                                       obj_description(k.oid, 'pg_constraint'))
    FROM pg_constraint k
    WHERE k.conrelid = c.oid AND k.contype IN ('c', 'n')
      AND obj_description(k.oid, 'pg_constraint') IS NOT NULL
    UNION ALL
    SELECT 7, a.attnum, 0, format('COMMENT ON COLUMN %s.%I IS %L', new.name, a.attname,
                                  col_description(c.oid, a.attnum))
    FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      AND col_description(c.oid, a.attnum) IS NOT NULL AND a.attname !~ '^upshift_kept_'
) s
WHERE c.oid = to_regclass($1)
  AND EXISTS (SELECT FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent AND p.relkind = 'r'
              WHERE i.inhrelid = c.oid)
ORDER BY s.place, s.part, s.turn
