CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
-- upgrade
CREATE SCHEMA made;
ALTER TABLE t SET SCHEMA made;
UPDATE made.t SET a = 1;
CREATE TYPE made.kind AS ENUM ('one', 'two');
ALTER TABLE made.t ADD COLUMN k made.kind DEFAULT 'one';
ALTER TYPE made.kind RENAME TO sort;
CREATE DOMAIN made.small AS integer CHECK (VALUE < 10);
ALTER TABLE made.t ADD COLUMN s made.small;
UPDATE made.t SET s = 3, k = 'two' WHERE id > 5;
