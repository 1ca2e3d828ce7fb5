-- A generated column may be set to DEFAULT, which changes nothing: not on the way back either.
CREATE TABLE t (id serial PRIMARY KEY, a integer, b integer GENERATED ALWAYS AS (a * 2) STORED);
INSERT INTO t (a) SELECT i FROM generate_series(1, 20) AS i;
-- upgrade
UPDATE t SET a = a + 1, b = DEFAULT WHERE id > 5;
UPDATE t SET b = DEFAULT;
