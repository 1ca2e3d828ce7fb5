-- expect: refused: undo
CREATE TABLE t (id serial PRIMARY KEY, a integer, twice integer GENERATED ALWAYS AS (a * 2) STORED);
INSERT INTO t (a) SELECT i FROM generate_series(1, 25) AS i;
-- upgrade
ALTER TABLE t DROP COLUMN twice;
UPDATE t SET a = a + 1;
ALTER TABLE t DROP COLUMN a;
