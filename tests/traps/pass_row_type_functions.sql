-- functions of a table's row type, while columns get other names in a pass; made and changed around it
CREATE TABLE t (id serial PRIMARY KEY, a integer, "b. c" text);
INSERT INTO t (a, "b. c") SELECT i % 7, 'row ' || i FROM generate_series(1, 60) AS i;
CREATE FUNCTION "full ""name"""(r t) RETURNS text LANGUAGE sql STABLE AS $$SELECT (r).id::text$$;
CREATE FUNCTION bodied(lowest integer) RETURNS bigint LANGUAGE sql
    BEGIN ATOMIC SELECT count(*) FROM t WHERE a > lowest AND "b. c" <> ''; END;
CREATE FUNCTION unused(r t) RETURNS integer LANGUAGE sql AS 'SELECT 1';
-- upgrade
UPDATE t SET a = a * 2;
ALTER TABLE t RENAME COLUMN a TO "a ""renamed""";
CREATE OR REPLACE FUNCTION "full ""name"""(r t) RETURNS text LANGUAGE sql STABLE AS $$SELECT (r).id::text || '!'$$;
ALTER TABLE t ADD COLUMN fresh integer DEFAULT 5;
CREATE FUNCTION later(r public.t[]) RETURNS integer LANGUAGE sql AS 'SELECT 2';
COMMENT ON FUNCTION unused(t) IS 'of a row';
UPDATE t SET fresh = "a ""renamed""" + 1, "b. c" = upper("b. c") WHERE id > 10;
ALTER TABLE t RENAME COLUMN "b. c" TO b;
UPDATE t SET b = b || '!';
