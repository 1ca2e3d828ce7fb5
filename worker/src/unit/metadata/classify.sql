-- what objects are to whoever hides what they depend on ($1 classes, $2 oids): how each is called, how it
-- is dropped, and the table that it belongs to. No kind: not known how to carry it. One statement for all:
-- it takes the planner longer than the server.
SELECT o.place::integer AS place, f.kind, f.object, f.name, f.remove, f.relation
FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS o (class, oid, place)
CROSS JOIN LATERAL (
    SELECT 'sequence' AS kind, format('%I.%I', n.nspname, c.relname) AS object, NULL::text AS name,
           NULL::text AS remove, coalesce((
               SELECT d.refobjid FROM pg_depend d
               WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refobjsubid > 0
                 AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'a' LIMIT 1), 0)::bigint
               AS relation
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE o.class = 'pg_class' AND c.oid = o.oid::oid AND c.relkind = 'S'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                      AND d.objid = c.oid AND d.deptype = 'i')
    UNION ALL
    SELECT 'identity', format('%I.%I', n.nspname, c.relname), a.attname,
           format('ALTER TABLE %I.%I ALTER COLUMN %I DROP IDENTITY IF EXISTS', n.nspname, c.relname,
                  a.attname), c.oid::bigint
    FROM pg_depend d
    JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
    JOIN pg_class c ON c.oid = d.refobjid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
    WHERE o.class = 'pg_class' AND d.classid = 'pg_class'::regclass AND d.objid = o.oid::oid AND d.deptype = 'i'
    UNION ALL
    SELECT CASE WHEN k.oid IS NULL AND t.relkind <> 't' THEN 'index' ELSE 'ignored' END,
           format('%I.%I', n.nspname, c.relname), NULL,
           format('DROP INDEX IF EXISTS %I.%I', n.nspname, c.relname), x.indrelid::bigint
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_index x ON x.indexrelid = c.oid
    JOIN pg_class t ON t.oid = x.indrelid
    LEFT JOIN pg_constraint k ON k.conindid = c.oid AND k.contype IN ('p', 'u', 'x')
    WHERE o.class = 'pg_class' AND c.oid = o.oid::oid AND c.relkind = 'i'
    UNION ALL
    SELECT 'view', format('%I.%I', n.nspname, c.relname), NULL,
           format('DROP %s IF EXISTS %I.%I',
                  CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END, n.nspname, c.relname),
           c.oid::bigint
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE o.class = 'pg_class' AND c.oid = o.oid::oid AND c.relkind IN ('v', 'm')
    UNION ALL
    SELECT 'ignored', NULL, NULL, NULL, 0
    FROM pg_class c WHERE o.class = 'pg_class' AND c.oid = o.oid::oid AND c.relkind = 't'
    UNION ALL
    SELECT CASE k.contype WHEN 'f' THEN 'foreign_key' WHEN 'c' THEN 'check' WHEN 'n' THEN 'ignored'
                          WHEN 't' THEN 'ignored' ELSE 'constraint' END,
           format('%I.%I', n.nspname, c.relname), k.conname,
           format('ALTER TABLE %I.%I DROP CONSTRAINT IF EXISTS %I', n.nspname, c.relname, k.conname),
           c.oid::bigint
    FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.conrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE o.class = 'pg_constraint' AND k.oid = o.oid::oid
    UNION ALL
    SELECT 'ignored', NULL, NULL, NULL, 0
    FROM pg_constraint k WHERE o.class = 'pg_constraint' AND k.oid = o.oid::oid AND k.conrelid = 0
    UNION ALL
    SELECT 'default', format('%I.%I', n.nspname, c.relname), a.attname,
           format('ALTER TABLE %I.%I ALTER COLUMN %I DROP DEFAULT', n.nspname, c.relname, a.attname),
           c.oid::bigint
    FROM pg_attrdef d
    JOIN pg_class c ON c.oid = d.adrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.adnum AND a.attgenerated = ''
    WHERE o.class = 'pg_attrdef' AND d.oid = o.oid::oid
    UNION ALL
    SELECT CASE WHEN t.tgisinternal THEN 'ignored' ELSE 'trigger' END,
           format('%I.%I', n.nspname, c.relname), t.tgname,
           format('DROP TRIGGER IF EXISTS %I ON %I.%I', t.tgname, n.nspname, c.relname), c.oid::bigint
    FROM pg_trigger t
    JOIN pg_class c ON c.oid = t.tgrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE o.class = 'pg_trigger' AND t.oid = o.oid::oid
    UNION ALL
    SELECT 'ignored', NULL, NULL, NULL, 0
    FROM pg_rewrite r WHERE o.class = 'pg_rewrite' AND r.oid = o.oid::oid AND r.rulename = '_RETURN'
    UNION ALL
    SELECT 'policy', format('%I.%I', n.nspname, c.relname), p.polname,
           format('DROP POLICY IF EXISTS %I ON %I.%I', p.polname, n.nspname, c.relname), c.oid::bigint
    FROM pg_policy p
    JOIN pg_class c ON c.oid = p.polrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE o.class = 'pg_policy' AND p.oid = o.oid::oid
    UNION ALL
    SELECT 'statistics', format('%I.%I', n.nspname, e.stxname), e.oid::text,
           format('DROP STATISTICS IF EXISTS %I.%I', n.nspname, e.stxname), e.stxrelid::bigint
    FROM pg_statistic_ext e JOIN pg_namespace n ON n.oid = e.stxnamespace
    WHERE o.class = 'pg_statistic_ext' AND e.oid = o.oid::oid
    UNION ALL
    SELECT 'function',
           format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
           p.oid::regprocedure::text,
           format('DROP %s IF EXISTS %I.%I(%s)',
                  CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END,
                  n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), 0
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE o.class = 'pg_proc' AND p.oid = o.oid::oid AND p.prokind IN ('f', 'p')
    UNION ALL
    SELECT 'ignored', NULL, NULL, NULL, 0
    FROM pg_type t WHERE o.class = 'pg_type' AND t.oid = o.oid::oid
) AS f
ORDER BY o.place
