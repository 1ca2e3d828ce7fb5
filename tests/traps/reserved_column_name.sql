-- expect: refused: rename it first
CREATE TABLE t (id integer PRIMARY KEY, upshift_unit integer);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) AS i;
-- upgrade
UPDATE t SET upshift_unit = 0;
