CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
CREATE TABLE u (id integer PRIMARY KEY, z text);
INSERT INTO u SELECT i, 'z' || i FROM generate_series(1, 40, 3) AS i;
-- upgrade
UPDATE t SET b = u.z, a = CASE WHEN u.id IS NULL THEN -1 ELSE x.a END
  FROM t AS x LEFT JOIN u ON u.id = x.id WHERE x.id = t.id;
UPDATE t AS this SET c = coalesce(prev.c, 0) FROM t AS other LEFT JOIN t AS prev ON prev.id = other.id - 1
 WHERE other.id = this.id;
