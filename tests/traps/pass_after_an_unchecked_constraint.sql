-- a pass cannot carry a CHECK over that the pack itself has added NOT VALID
CREATE TABLE t (id serial PRIMARY KEY, n integer);
INSERT INTO t (n) SELECT i FROM generate_series(-3, 60) i;

-- upgrade
ALTER TABLE t ADD CONSTRAINT positive CHECK (n > 0) NOT VALID;
UPDATE t SET n = n + 1 WHERE n > 5;
