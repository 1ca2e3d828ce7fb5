-- expect: stops
CREATE TABLE t (id serial PRIMARY KEY, v varchar(3));
INSERT INTO t (v) SELECT i::text FROM generate_series(1, 30) AS i;
-- upgrade
UPDATE t SET v = v || 'xx' WHERE id < 30;
UPDATE t SET v = v || 'x';
