-- expect: stops
CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
CREATE TABLE c1 (id serial PRIMARY KEY, t_id integer REFERENCES t (id));
INSERT INTO c1 (t_id) VALUES (39);
-- upgrade
UPDATE t SET b = 'x';
DELETE FROM t WHERE id > 5;
