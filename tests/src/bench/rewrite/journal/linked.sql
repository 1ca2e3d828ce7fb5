-- One of the tables with a foreign key to the lines.
CREATE TABLE {table} (id serial PRIMARY KEY, line_id integer, note text);
INSERT INTO {table} (line_id, note)
SELECT 1 + i * 7919::bigint % {rows}, 'note ' || i FROM generate_series(1, {linked}) AS i;
CREATE INDEX {table}_line_id_idx ON {table} (line_id);
ALTER TABLE {table} ADD CONSTRAINT {table}_line_id_fkey
    FOREIGN KEY (line_id) REFERENCES account_move_line (id) ON DELETE SET NULL;
