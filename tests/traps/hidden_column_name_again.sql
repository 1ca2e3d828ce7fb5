CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
-- upgrade
ALTER TABLE t DROP COLUMN b;
ALTER TABLE t ADD COLUMN b integer NOT NULL DEFAULT 5;
UPDATE t SET b = a WHERE a IS NOT NULL;
ALTER TABLE t DROP COLUMN b;
ALTER TABLE t ADD COLUMN b jsonb;
UPDATE t SET b = jsonb_build_object('a', a);
