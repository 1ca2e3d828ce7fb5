-- expect: refused: undo
CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
CREATE FUNCTION f(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
COMMENT ON FUNCTION f(integer) IS 'adds one';
CREATE FUNCTION reads_t() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT sum(a) FROM t';
-- upgrade
UPDATE t SET a = f(a);
UPDATE t SET c = reads_t();
CREATE OR REPLACE FUNCTION f(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 2';
UPDATE t SET a = f(a);
CREATE FUNCTION g(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN upper($1); END $$;
UPDATE t SET b = g(b);
DROP FUNCTION g(text);
DROP FUNCTION f(integer);
