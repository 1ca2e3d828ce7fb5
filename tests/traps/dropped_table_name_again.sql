CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
CREATE TABLE child (id serial PRIMARY KEY, t_id integer REFERENCES t (id) ON DELETE CASCADE, note text);
INSERT INTO child (t_id, note) SELECT i, 'n' || i FROM generate_series(1, 20) AS i;
CREATE INDEX t_a_idx ON t (a);
CREATE VIEW v AS SELECT id, a FROM t;
COMMENT ON VIEW v IS 'a view';
GRANT SELECT ON t TO PUBLIC;
-- upgrade
DROP TABLE t CASCADE;
CREATE TABLE t (id serial PRIMARY KEY, z text);
CREATE INDEX t_a_idx ON t (z);
INSERT INTO t (z) SELECT note FROM child ORDER BY id DESC;
DROP TABLE child;
