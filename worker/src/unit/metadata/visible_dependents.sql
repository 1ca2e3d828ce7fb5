-- dependents of an object that are not hidden themselves ($1 class, $2 oid, $3
-- column number or 0): PostgreSQL refuses to drop
-- a type because of a column that is dropped as far as the pack can tell
SELECT count(*) AS visible
FROM pg_depend d
LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
LEFT JOIN pg_trigger t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid
LEFT JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
LEFT JOIN pg_index x ON d.classid = 'pg_class'::regclass AND x.indexrelid = d.objid
LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
LEFT JOIN pg_class c ON c.oid = coalesce(w.ev_class, f.adrelid, k.conrelid, t.tgrelid, p.polrelid, x.indrelid,
         CASE WHEN d.classid = 'pg_class'::regclass THEN d.objid END)
LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON d.classid = 'pg_class'::regclass AND a.attrelid = d.objid
         AND a.attnum = d.objsubid AND d.objsubid > 0
WHERE d.refclassid = $1::text::regclass AND d.refobjid = $2::oid AND d.deptype IN ('n', 'a')
  AND ($3 = 0 OR d.refobjsubid = $3)
  AND coalesce(n.nspname, '') !~ '^upshift_kept'
  AND coalesce(a.attname, '') NOT LIKE 'upshift\_kept\_%'
