CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
-- upgrade
INSERT INTO t (a, b) SELECT a + 1, b FROM t ORDER BY c DESC;
INSERT INTO t (id, a) SELECT id + 1000, a FROM t;
INSERT INTO t (a) SELECT DISTINCT a FROM t ORDER BY a;
INSERT INTO t (a, c) SELECT a, sum(c) FROM t GROUP BY a ORDER BY a NULLS FIRST;
INSERT INTO t (a, b) SELECT a, b FROM t ORDER BY id DESC LIMIT 7 OFFSET 2;
INSERT INTO t (a) SELECT a FROM t WHERE id < 4 UNION ALL SELECT 7 ORDER BY 1;
