-- expect: stops
-- a row that a pass would move out of its partition
CREATE TABLE t (id integer NOT NULL, a integer NOT NULL) PARTITION BY RANGE (a);
CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (50);
INSERT INTO t SELECT i, i FROM generate_series(1, 40) AS i;
-- upgrade
UPDATE low SET a = a + 20;
