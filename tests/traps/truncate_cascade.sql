CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
CREATE TABLE child (id serial PRIMARY KEY, t_id integer REFERENCES t (id));
INSERT INTO child (t_id) SELECT i FROM generate_series(1, 20) AS i;
-- upgrade
TRUNCATE t RESTART IDENTITY CASCADE;
INSERT INTO t (a) SELECT i FROM generate_series(1, 5) AS i ORDER BY i;
