CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
-- upgrade
ALTER TABLE t DROP COLUMN b;
CREATE TABLE copied AS SELECT * FROM t;
CREATE TABLE qualified AS SELECT x.*, 1 AS one FROM t AS x;
CREATE VIEW v AS SELECT * FROM t;
CREATE TABLE whole AS SELECT id, to_jsonb(t) AS j, t::text AS row FROM t;
UPDATE t SET a = length(t::text);
CREATE TABLE likewise (LIKE t INCLUDING ALL);
INSERT INTO likewise SELECT * FROM t ORDER BY id;
