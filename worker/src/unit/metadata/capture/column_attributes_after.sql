-- the column's options as they are now, to be reset first ($1 table, $2 column)
SELECT format('ALTER TABLE %I.%I ALTER COLUMN %I RESET (%s)', n.nspname, c.relname, a.attname,
              (SELECT string_agg(split_part(o, '=', 1), ', ') FROM unnest(a.attoptions) o))
           AS statement
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $2 AND NOT a.attisdropped
WHERE c.oid = to_regclass($1) AND a.attoptions IS NOT NULL
