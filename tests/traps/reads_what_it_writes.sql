CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
-- upgrade
UPDATE t SET a = (SELECT max(a) FROM t) + id;
UPDATE t SET c = (SELECT sum(x.c) FROM t AS x WHERE x.id <= t.id);
UPDATE t SET a = o.a FROM t AS o WHERE o.id = t.id + 1;
DELETE FROM t WHERE EXISTS (SELECT 1 FROM t AS x WHERE x.a = t.a AND x.id < t.id AND x.id % 3 = 0);
UPDATE t SET b = s.n::text FROM (SELECT id, row_number() OVER (ORDER BY a, id) AS n FROM t) AS s WHERE s.id = t.id;
