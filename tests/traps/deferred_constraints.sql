CREATE TABLE t (id serial PRIMARY KEY, pos integer UNIQUE DEFERRABLE INITIALLY DEFERRED, parent integer REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO t (pos) SELECT i FROM generate_series(1, 30) AS i;
UPDATE t SET parent = id - 1 WHERE id > 1;
-- upgrade
UPDATE t SET pos = pos + 1;
UPDATE t SET pos = 100 - pos;
DELETE FROM t WHERE id > 20;
