CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
-- upgrade
ALTER TABLE t DROP COLUMN b;
ALTER TABLE t ALTER COLUMN c TYPE integer USING round(c);
CREATE TABLE copied AS SELECT id, a, c FROM t;
CREATE VIEW v AS SELECT id, c FROM t;
INSERT INTO t (a, c) SELECT a, c FROM t ORDER BY id DESC;
UPDATE t SET a = 0 WHERE EXISTS (SELECT * FROM t AS x WHERE x.id = t.id + 1);
INSERT INTO copied SELECT * FROM copied WHERE id < 4;
