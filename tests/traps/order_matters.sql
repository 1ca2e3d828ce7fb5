CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
-- upgrade
UPDATE t SET a = a + 1 WHERE a > 3;
UPDATE t SET a = a * 2 WHERE a > 3;
CREATE TABLE snapshot1 AS SELECT sum(a) AS total FROM t;
DELETE FROM t WHERE a > 9;
INSERT INTO t (a) SELECT total FROM snapshot1;
UPDATE t SET c = s.total FROM snapshot1 AS s;
CREATE UNIQUE INDEX t_b_idx ON t (b);
UPDATE t SET b = b || 'x';
DROP INDEX t_b_idx;
UPDATE t SET b = 'same';
ALTER TABLE t RENAME TO renamed;
UPDATE renamed SET a = 0;
CREATE TABLE t AS SELECT * FROM renamed WHERE id < 5;
UPDATE t SET a = 99;
-- file: post-b.sql
DROP TABLE t;
ALTER TABLE renamed RENAME TO t;
DELETE FROM t WHERE id < 3;
