CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
-- upgrade
UPDATE t SET a = id, c = a, b = c::text;
UPDATE t SET (a, b) = (SELECT count(*)::integer, 'n' FROM generate_series(1, t.id));
UPDATE t SET a = DEFAULT, c = DEFAULT WHERE id < 9;
