CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
CREATE TABLE c1 (id serial PRIMARY KEY, t_id integer REFERENCES t (id) ON DELETE CASCADE, x text);
CREATE TABLE c2 (id serial PRIMARY KEY, c1_id integer REFERENCES c1 (id) ON DELETE CASCADE, t_id integer REFERENCES t (id) ON DELETE SET NULL);
CREATE TABLE c3 (id serial PRIMARY KEY, t_id integer DEFAULT 1 REFERENCES t (id) ON DELETE SET DEFAULT ON UPDATE CASCADE);
INSERT INTO c1 (t_id, x) SELECT i, 'x' || i FROM generate_series(1, 40) AS i;
INSERT INTO c2 (c1_id, t_id) SELECT i, 41 - i FROM generate_series(1, 40) AS i;
INSERT INTO c3 (t_id) SELECT i FROM generate_series(1, 40) AS i;
-- upgrade
DELETE FROM t WHERE a = 3;
UPDATE t SET id = id + 500 WHERE id > 1 AND id NOT IN (SELECT t_id FROM c1 WHERE t_id IS NOT NULL) AND id NOT IN (SELECT t_id FROM c2 WHERE t_id IS NOT NULL);
DELETE FROM c1 WHERE id % 2 = 0;
