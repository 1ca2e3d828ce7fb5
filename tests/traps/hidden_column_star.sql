CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
CREATE TABLE u (id integer, other text);
INSERT INTO u SELECT i, 'u ' || i FROM generate_series(1, 50, 3) AS i;
-- upgrade
ALTER TABLE t DROP COLUMN b;
CREATE TABLE copied AS SELECT * FROM t;
SELECT * INTO again FROM t;
CREATE TABLE qualified AS SELECT x.*, 1 AS one FROM t AS x;
CREATE TABLE listed AS TABLE t;
CREATE TABLE joined AS SELECT * FROM t LEFT JOIN u USING (id);
CREATE TABLE of_both AS SELECT u.id AS u_id, t.*, other FROM u, LATERAL (SELECT * FROM t WHERE t.id < u.id) AS t;
CREATE TABLE by_query AS WITH w AS (SELECT * FROM t) SELECT * FROM w WHERE EXISTS (SELECT * FROM t WHERE t.id = w.id + 1);
CREATE VIEW v AS SELECT * FROM t;
CREATE TABLE whole AS SELECT id, to_jsonb(t) AS j, t::text AS row FROM t;
UPDATE t SET a = length(t::text);
CREATE TABLE child () INHERITS (t);
INSERT INTO child SELECT id + 100, a, c FROM t;
INSERT INTO copied SELECT * FROM t ORDER BY id;
