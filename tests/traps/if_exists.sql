CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
CREATE INDEX t_a_idx ON t (a);
-- upgrade
DROP TABLE IF EXISTS nothing;
ALTER TABLE IF EXISTS nothing ADD COLUMN x integer;
DROP INDEX IF EXISTS nothing_idx;
CREATE TABLE IF NOT EXISTS t (id integer);
CREATE INDEX IF NOT EXISTS t_a_idx ON t (b);
ALTER TABLE t ADD COLUMN IF NOT EXISTS a text;
ALTER TABLE t ADD COLUMN IF NOT EXISTS fresh text DEFAULT 'x';
ALTER TABLE t DROP COLUMN IF EXISTS nothing;
DROP VIEW IF EXISTS nothing;
DROP SEQUENCE IF EXISTS nothing;
ALTER TABLE t DROP CONSTRAINT IF EXISTS nothing;
UPDATE t SET fresh = b WHERE b IS NOT NULL;
