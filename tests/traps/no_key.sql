-- The last statement numbers rows in their physical order, which a vacuum between two runs would change.
CREATE TABLE t (a integer, b text) WITH (autovacuum_enabled = off);
INSERT INTO t SELECT i % 3, 'same' FROM generate_series(1, 20) AS i;
CREATE TABLE empty (a integer);
-- upgrade
UPDATE t SET b = 'other' WHERE a = 1;
DELETE FROM t WHERE a = 2;
INSERT INTO t SELECT a + 10, b FROM t;
UPDATE empty SET a = 1;
ALTER TABLE t ADD COLUMN id serial;
