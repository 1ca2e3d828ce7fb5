CREATE UNLOGGED TABLE t (id serial PRIMARY KEY, v text);
INSERT INTO t (v) SELECT repeat(md5(i::text), 200) FROM generate_series(1, 20) AS i;
-- upgrade
UPDATE t SET v = v || 'x' WHERE id > 10;
DELETE FROM t WHERE id < 4;
ALTER TABLE t DROP COLUMN v;
