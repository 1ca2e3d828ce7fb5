CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
ALTER TABLE t ADD CONSTRAINT t_a_c_key UNIQUE (id, a);
CREATE TABLE child (id serial PRIMARY KEY, t_id integer, t_a integer, FOREIGN KEY (t_id, t_a) REFERENCES t (id, a) ON UPDATE CASCADE);
INSERT INTO child (t_id, t_a) SELECT id, a FROM t;
-- upgrade
UPDATE t SET a = a + 100;
ALTER TABLE child DROP COLUMN t_a;
ALTER TABLE t DROP CONSTRAINT t_a_c_key;
UPDATE t SET a = 5;
ALTER TABLE child ADD FOREIGN KEY (t_id) REFERENCES t (id) ON DELETE SET NULL;
DELETE FROM t WHERE id > 20;
