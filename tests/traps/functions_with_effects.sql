CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
CREATE FUNCTION clear_b() RETURNS void LANGUAGE sql AS 'UPDATE t SET b = NULL WHERE id > 30';
-- upgrade
CREATE TABLE before AS SELECT id, b FROM t;
-- upshift: undo = "UPDATE t SET b = o.b FROM before AS o WHERE o.id = t.id"
SELECT clear_b();
UPDATE t SET a = 1 WHERE b IS NULL;
