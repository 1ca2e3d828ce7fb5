CREATE TABLE t (id serial PRIMARY KEY, j json, x xml, p point, n integer);
INSERT INTO t (j, x, p, n) SELECT '{"a": 1, "a": 2}', '<a/>', point(i, i), i FROM generate_series(1, 12) AS i;
CREATE TABLE nokey (j json, p point);
INSERT INTO nokey SELECT '[1,  2]', point(1, 2) FROM generate_series(1, 5);
-- upgrade
UPDATE t SET n = n + 1, j = '{}' WHERE id > 3;
DELETE FROM t WHERE id > 9;
INSERT INTO t (id, j) VALUES (5, '[]'), (50, '[50]') ON CONFLICT (id) DO UPDATE SET j = excluded.j, x = NULL;
UPDATE nokey SET p = point(0, 0);
DELETE FROM nokey WHERE p ~= point(0, 0);
