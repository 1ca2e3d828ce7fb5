CREATE TABLE t (id serial PRIMARY KEY, a integer, b text);
-- upgrade
-- upshift: undo = "ALTER TABLE t ADD COLUMN b text"
ALTER TABLE t DROP COLUMN b;
CREATE TABLE likewise (LIKE t);
INSERT INTO likewise SELECT i, i FROM generate_series(1, 5) AS i;
INSERT INTO t SELECT * FROM likewise;
