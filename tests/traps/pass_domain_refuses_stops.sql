-- expect: stops
-- A domain over what a statement sets.
CREATE DOMAIN positive AS integer CHECK (value > 0);
CREATE TABLE t (id serial PRIMARY KEY, p positive, n integer);
INSERT INTO t (p, n) SELECT i, i - 3 FROM generate_series(1, 20) AS i;
-- upgrade
UPDATE t SET n = n + 1;
UPDATE t SET p = n;
