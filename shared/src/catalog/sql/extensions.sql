-- upshift: read extensions
SELECT e.extname::text AS name FROM pg_catalog.pg_extension AS e ORDER BY e.extname
