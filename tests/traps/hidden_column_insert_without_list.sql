CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
-- upgrade
ALTER TABLE t DROP COLUMN a;
INSERT INTO t VALUES (100, 'new', 1.5), (101, 'newer', 2.5);
INSERT INTO t SELECT id + 1000, b, c FROM t WHERE id <= 10;
INSERT INTO t AS x SELECT id + 2000, upper(b) FROM t WHERE id <= 10 ON CONFLICT (id) DO UPDATE SET c = excluded.c + x.c;
WITH n AS (INSERT INTO t VALUES (5000, 'cte') RETURNING *) INSERT INTO t SELECT n.id + 1, n.b, 7 FROM n;
ALTER TABLE t ADD COLUMN d text DEFAULT 'd';
INSERT INTO t SELECT id + 3000, b, c, d || b FROM t WHERE id <= 10;
