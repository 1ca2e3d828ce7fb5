-- Not installed in the demo's database: left alone.
ALTER TABLE website_visitor ADD COLUMN language varchar;
