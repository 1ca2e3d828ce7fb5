-- statements that look at other rows of the table, behind ones that delete rows, add, rename or
-- change columns
CREATE TABLE t (id serial PRIMARY KEY, a integer, b integer, c integer, d integer);
INSERT INTO t (a, b, c, d) SELECT i, i * 2, i * 3, i FROM generate_series(1, 60) i;

-- upgrade
DELETE FROM t WHERE id % 3 = 0;
UPDATE t SET a = (SELECT count(*) FROM t AS s);
UPDATE t SET b = b + 1 WHERE EXISTS (SELECT FROM t AS s WHERE s.id = t.id + 2);
-- file: pre-b.sql
ALTER TABLE t ADD COLUMN fresh integer DEFAULT 5;
UPDATE t AS x SET c = y.fresh FROM t AS y WHERE y.id = x.id - 1;
-- file: pre-c.sql
ALTER TABLE t RENAME COLUMN d TO e;
UPDATE t AS x SET c = y.e FROM t AS y WHERE y.id = x.id - 2;
-- file: pre-d.sql
ALTER TABLE t ALTER COLUMN e TYPE text;
UPDATE t AS x SET c = length(y.e) FROM t AS y WHERE y.id = x.id - 3;
UPDATE t SET b = 7;
UPDATE t AS x SET c = 1 FROM t AS y WHERE y.id = x.id - 1 AND y.b = 7;
