-- names of columns that change places in a pass, go, come back, or are of columns that it adds; with
-- a foreign key, a trigger and a view that follow them
CREATE TABLE parent (id integer PRIMARY KEY);
INSERT INTO parent SELECT i FROM generate_series(1, 9) i;
CREATE TABLE t (id serial PRIMARY KEY, a integer REFERENCES parent, b integer, c integer, d text);
INSERT INTO t (a, b, c, d) SELECT 1 + i % 9, i, i * 2, 'd' || i FROM generate_series(1, 60) i;
CREATE TABLE u (id serial PRIMARY KEY, a integer REFERENCES parent, b integer);
INSERT INTO u (a, b) SELECT 1 + i % 9, i FROM generate_series(1, 60) i;
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER g BEFORE INSERT ON u FOR EACH ROW WHEN (new.a > 5) EXECUTE FUNCTION f();
CREATE VIEW v AS SELECT a, b FROM u;

-- upgrade
ALTER TABLE t ADD COLUMN fresh text;
UPDATE t SET fresh = d;
ALTER TABLE t RENAME COLUMN fresh TO fresher;
ALTER TABLE t RENAME COLUMN a TO spare;
ALTER TABLE t RENAME COLUMN b TO a;
ALTER TABLE t RENAME COLUMN spare TO b;
UPDATE t SET a = a + 1 WHERE b > 3;
ALTER TABLE t DROP COLUMN c;
ALTER TABLE t RENAME COLUMN d TO c;
UPDATE t SET c = c || fresher;
-- file: post-a.sql
UPDATE u SET b = b + 1;
ALTER TABLE u RENAME COLUMN a TO spare;
ALTER TABLE u RENAME COLUMN b TO a;
ALTER TABLE u RENAME COLUMN spare TO b;
