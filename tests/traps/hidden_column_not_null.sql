CREATE TABLE t (id serial PRIMARY KEY, a integer NOT NULL, b text NOT NULL DEFAULT 'x');
INSERT INTO t (a) SELECT i FROM generate_series(1, 12) AS i;
-- upgrade
ALTER TABLE t DROP COLUMN a;
INSERT INTO t (b) SELECT 'new ' || i FROM generate_series(1, 3) AS i ORDER BY i;
ALTER TABLE t DROP COLUMN b;
INSERT INTO t DEFAULT VALUES;
