-- expect: refused: cannot be dropped
CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
CREATE TABLE child (id serial PRIMARY KEY, t_id integer REFERENCES t (id));
-- upgrade
UPDATE t SET a = 1;
DROP TABLE t;
