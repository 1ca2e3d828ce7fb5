-- expect: stops
-- (a, b) = (SELECT …) has to find one row, or none.
CREATE TABLE u (id integer PRIMARY KEY, k integer, x integer, y text);
INSERT INTO u SELECT i, i % 30, i * 2, 'y' || i FROM generate_series(1, 40) AS i;
CREATE TABLE t (id serial PRIMARY KEY, a integer, b text);
INSERT INTO t (a) SELECT i FROM generate_series(1, 60) AS i;
-- upgrade
UPDATE t SET a = a + 1;
UPDATE t SET (a, b) = (SELECT x, y FROM u WHERE u.k = t.id);
