-- what makes an empty table like another, in a schema of its own ($1 table, $2 schema): everything
-- but foreign keys and triggers, which only the table in use may have
SELECT statement
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT format('%I.%I', $2::text, c.relname) AS name) new
-- See heir.sql.
CROSS JOIN LATERAL (SELECT EXISTS (
    SELECT FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent AND p.relkind = 'r'
    WHERE h.inhrelid = c.oid) AS inherits) i
CROSS JOIN LATERAL (
    SELECT 1 AS place, 0::bigint AS part, format(
        'CREATE %sTABLE %s (LIKE %I.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED '
        'INCLUDING IDENTITY INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING COMMENTS)%s',
        CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, new.name, n.nspname, c.relname,
        coalesce((SELECT format(' TABLESPACE %I', t.spcname)
                  FROM pg_tablespace t WHERE t.oid = c.reltablespace), '')) AS statement
    WHERE NOT i.inherits
    UNION ALL
    -- What an earlier step dropped and commit will destroy stays with the old table.
    SELECT 2, a.attnum, format('ALTER TABLE %s DROP COLUMN %I', new.name, a.attname)
    FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND NOT i.inherits
      AND a.attname ~ '^upshift_kept_'
    UNION ALL
    SELECT 3, 0, format('ALTER TABLE %s SET (%s)', new.name, o.options)
    FROM (SELECT string_agg(option, ', ') AS options
          FROM (SELECT unnest(c.reloptions)
                UNION ALL
                SELECT 'toast.' || unnest(t.reloptions) FROM pg_class t
                WHERE t.oid = c.reltoastrelid) x (option)) o
    WHERE o.options IS NOT NULL
    UNION ALL
    SELECT 4, a.attnum, format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS %s', new.name, a.attname,
                               a.attstattarget)
    FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attstattarget >= 0
      AND a.attname !~ '^upshift_kept_'
    UNION ALL
    SELECT 5, a.attnum, format('ALTER TABLE %s ALTER COLUMN %I SET (%s)', new.name, a.attname,
                               array_to_string(a.attoptions, ', '))
    FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attoptions IS NOT NULL
    UNION ALL
    -- The definition up to the table's name is made up again; quote_ident quotes as it does.
    SELECT 6, i.oid::bigint, format('CREATE %sINDEX %I ON %s ',
                                    CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END, i.relname,
                                    new.name)
           || substr(pg_get_indexdef(i.oid), length(format(
                  'CREATE %sINDEX %I ON %I.%I ',
                  CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END, i.relname, n.nspname,
                  c.relname)) + 1)
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    WHERE x.indrelid = c.oid
      AND NOT EXISTS (SELECT FROM pg_constraint k
                      WHERE k.conindid = i.oid AND k.contype IN ('p', 'u', 'x')
                        AND k.conrelid = c.oid)
    UNION ALL
    SELECT 7, k.oid::bigint, format('ALTER TABLE %s ADD CONSTRAINT %I %s', new.name, k.conname,
                                    pg_get_constraintdef(k.oid))
    FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x')
    UNION ALL
    SELECT 8, k.oid::bigint, format('COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname, new.name,
                                    obj_description(k.oid, 'pg_constraint'))
    FROM pg_constraint k
    WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x')
      AND obj_description(k.oid, 'pg_constraint') IS NOT NULL
    UNION ALL
    SELECT 9, m.place + i.oid::bigint * 10, m.statement
    FROM pg_index x
    JOIN pg_class i ON i.oid = x.indexrelid
    CROSS JOIN LATERAL (
        SELECT 1 AS place, format('ALTER INDEX %I.%I SET (%s)', $2::text, i.relname,
                                  array_to_string(i.reloptions, ', ')) AS statement
        WHERE i.reloptions IS NOT NULL
        UNION ALL
        SELECT 2, format('ALTER INDEX %I.%I SET TABLESPACE %I', $2::text, i.relname, t.spcname)
        FROM pg_tablespace t WHERE t.oid = i.reltablespace
        UNION ALL
        SELECT 3, format('COMMENT ON INDEX %I.%I IS %L', $2::text, i.relname,
                         obj_description(i.oid, 'pg_class'))
        WHERE obj_description(i.oid, 'pg_class') IS NOT NULL
        UNION ALL
        SELECT 4, format('ALTER INDEX %I.%I ALTER COLUMN %s SET STATISTICS %s', $2::text, i.relname,
                         a.attnum, a.attstattarget)
        FROM pg_attribute a WHERE a.attrelid = i.oid AND a.attstattarget >= 0
        UNION ALL
        SELECT 5, format('ALTER TABLE %s CLUSTER ON %I', new.name, i.relname) WHERE x.indisclustered
        UNION ALL
        SELECT 6, format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', new.name, i.relname)
        WHERE x.indisreplident
    ) m
    WHERE x.indrelid = c.oid
    UNION ALL
    SELECT 10, 0, format('ALTER TABLE %s REPLICA IDENTITY %s', new.name,
                         CASE c.relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END)
    WHERE c.relreplident IN ('f', 'n')
    UNION ALL
    SELECT 11, s.place + e.oid::bigint * 10, s.statement
    FROM pg_statistic_ext e
    JOIN pg_namespace en ON en.oid = e.stxnamespace
    CROSS JOIN LATERAL (SELECT format('%I.%I', $2::text, e.stxname) AS name,
                               pg_get_statisticsobjdef(e.oid) AS definition) es
    CROSS JOIN LATERAL (
        SELECT 1 AS place,
               'CREATE STATISTICS ' || es.name
               || substr(left(es.definition,
                              length(es.definition) - length(format(' FROM %I.%I', n.nspname, c.relname))),
                         length(format('CREATE STATISTICS %I.%I', en.nspname, e.stxname)) + 1)
               || ' FROM ' || new.name AS statement
        UNION ALL
        SELECT 2, format('ALTER STATISTICS %s OWNER TO %I', es.name, pg_get_userbyid(e.stxowner))
        WHERE pg_get_userbyid(e.stxowner) <> current_user
        UNION ALL
        SELECT 3, format('ALTER STATISTICS %s SET STATISTICS %s', es.name, e.stxstattarget)
        WHERE e.stxstattarget >= 0
        UNION ALL
        SELECT 4, format('COMMENT ON STATISTICS %s IS %L', es.name,
                         obj_description(e.oid, 'pg_statistic_ext'))
        WHERE obj_description(e.oid, 'pg_statistic_ext') IS NOT NULL
    ) s
    WHERE e.stxrelid = c.oid
    UNION ALL
    SELECT 12, s.place + p.oid::bigint * 10, s.statement
    FROM pg_policy p
    CROSS JOIN LATERAL (
        SELECT 1 AS place, format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', p.polname, new.name,
                   CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                   CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                                 WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
                   (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC'
                                             ELSE quote_ident(pg_get_userbyid(r)) END, ', ')
                    FROM unnest(p.polroles) r))
               || coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', '')
               || coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '')
               AS statement
        UNION ALL
        SELECT 2, format('COMMENT ON POLICY %I ON %s IS %L', p.polname, new.name,
                         obj_description(p.oid, 'pg_policy'))
        WHERE obj_description(p.oid, 'pg_policy') IS NOT NULL
    ) s
    WHERE p.polrelid = c.oid
    UNION ALL
    SELECT 13, 0, format('COMMENT ON TABLE %s IS %L', new.name, obj_description(c.oid, 'pg_class'))
    WHERE obj_description(c.oid, 'pg_class') IS NOT NULL
    UNION ALL
    -- Spares ATTACH PARTITION a scan.
    SELECT 14, 0, format('ALTER TABLE %s ADD CONSTRAINT upshift_bound CHECK (%s)', new.name,
                         pg_get_partition_constraintdef(c.oid))
    WHERE c.relispartition
) s
WHERE c.oid = to_regclass($1)
ORDER BY s.place, s.part
