-- upshift: read the database's own facts
SELECT current_setting('server_version_num')::integer AS server_version,
       current_database()::text AS database,
       current_schemas(true)::text[] AS search_path
