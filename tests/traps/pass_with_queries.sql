-- WITH on UPDATE and DELETE; its queries may be called like tables.
CREATE TABLE u (id integer PRIMARY KEY, x integer, y text);
INSERT INTO u SELECT i, i * 2, 'y' || i FROM generate_series(1, 40) AS i;
CREATE TABLE v (id integer PRIMARY KEY, z integer);
INSERT INTO v SELECT i, i % 4 FROM generate_series(1, 30) AS i;
CREATE TABLE t (id serial PRIMARY KEY, link integer, a integer, b text);
INSERT INTO t (link, a) SELECT i % 50, i FROM generate_series(1, 60) AS i;
-- upgrade
WITH q AS (SELECT id, x FROM u WHERE x > 10) UPDATE t SET a = q.x + a FROM q WHERE q.id = t.link;
WITH q (k, w) AS (SELECT id, y FROM u), r AS (SELECT * FROM q WHERE k % 3 > 0)
UPDATE t SET b = r.w || '+' || q.w FROM r JOIN q ON q.k = r.k WHERE r.k = t.id AND t.a > 20;
WITH u AS (SELECT id, z AS x FROM v) UPDATE t SET a = u.x FROM u WHERE u.id = t.id;
WITH v AS MATERIALIZED (SELECT id FROM v WHERE z = 2) UPDATE t SET b = 'in v' WHERE id IN (SELECT id FROM v);
WITH w AS (VALUES (1, 'one'), (2, 'two')) UPDATE t SET b = w.column2 FROM w WHERE w.column1 = t.a;
WITH q AS (SELECT id FROM u WHERE x BETWEEN 30 AND 50) DELETE FROM t USING q WHERE q.id = t.id AND t.a % 2 = 0;
WITH q AS (SELECT count(*) AS n FROM u) UPDATE t SET a = a + q.n FROM q;
WITH q AS (SELECT id, a FROM t) UPDATE t SET b = b || q.id FROM q WHERE q.id = t.id;
WITH RECURSIVE q AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM q WHERE id < 9) UPDATE t SET a = -a FROM q WHERE q.id = t.id;
WITH q AS (SELECT id FROM v) UPDATE t SET a = a + 1 WHERE EXISTS (SELECT FROM q WHERE q.id = t.link)
AND id NOT IN (SELECT id + 20 FROM q);
