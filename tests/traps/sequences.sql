CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
CREATE SEQUENCE s START 10 INCREMENT 5;
CREATE SEQUENCE untouched;
CREATE TABLE q (id integer PRIMARY KEY DEFAULT nextval('s'), v text);
INSERT INTO q (v) SELECT 'v' || i FROM generate_series(1, 20) AS i;
-- upgrade
INSERT INTO q (v) SELECT b FROM t WHERE b IS NOT NULL ORDER BY c DESC;
UPDATE t SET a = nextval('s') WHERE id <= 15;
SELECT setval('s', 9999, false);
INSERT INTO q (v) VALUES ('last') RETURNING id;
ALTER SEQUENCE s INCREMENT 7 MAXVALUE 100000;
INSERT INTO q (id, v) SELECT nextval('s') + 1, 'x' FROM generate_series(1, 3);
ALTER SEQUENCE untouched OWNED BY t.a;
CREATE SEQUENCE made;
SELECT nextval('made') FROM generate_series(1, 4);
ALTER SEQUENCE made RENAME TO remade;
DROP SEQUENCE untouched;
