-- SET c = DEFAULT is the default as it is at that step; (a, b) = (SELECT …) is NULL without a row.
CREATE TABLE u (id integer PRIMARY KEY, x integer, y text);
INSERT INTO u SELECT i, i * 2, 'y' || i FROM generate_series(1, 40) AS i;
CREATE TABLE t (
    id serial PRIMARY KEY, link integer, a integer DEFAULT 5, b text DEFAULT 'none'::text, c varchar(4) DEFAULT 'c',
    d date DEFAULT '2020-02-02', e integer GENERATED ALWAYS AS (link * 2) STORED, f jsonb DEFAULT '{}', u uuid);
INSERT INTO t (link, a, b) SELECT i % 50, i, 'b' || i FROM generate_series(1, 60) AS i;
CREATE SEQUENCE s;
-- upgrade
UPDATE t SET a = DEFAULT, b = DEFAULT, d = DEFAULT WHERE id % 5 = 0;
UPDATE t SET c = b, f = DEFAULT, e = DEFAULT WHERE length(b) <= 4;
ALTER TABLE t ALTER COLUMN a SET DEFAULT 3 + 4, ALTER COLUMN b DROP DEFAULT;
UPDATE t SET a = DEFAULT, b = DEFAULT WHERE id % 7 = 0;
UPDATE t SET (a, b) = (a + 1, coalesce(b, '-') || a) WHERE id > 10;
UPDATE t SET (b, a) = ROW (c, DEFAULT), d = d + a WHERE id % 11 = 0;
UPDATE t SET (a, b) = (SELECT x, y FROM u WHERE u.id = t.link) WHERE id % 2 = 0;
UPDATE t SET (b, c, a) = (SELECT * FROM (SELECT y || t.id, 'z', max(x) OVER () FROM u WHERE u.id = t.a / 2) AS q)
WHERE a < 90;
UPDATE t SET (a, b) = (SELECT count(*), min(y) FROM u WHERE u.x > t.a) WHERE id % 3 = 0;
UPDATE t SET (a) = (SELECT x FROM u WHERE u.id = t.link UNION SELECT x FROM u WHERE u.id = t.link), c = DEFAULT
WHERE id < 20;
UPDATE t SET u = '00000000-0000-0000-0000-000000000000';
ALTER TABLE t ALTER COLUMN a SET DEFAULT nextval('s');
UPDATE t SET a = DEFAULT WHERE id = 3;
UPDATE t SET (b, a) = ('drawn', DEFAULT) WHERE id = 4;
