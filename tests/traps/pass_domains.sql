-- A domain's constraints are looked at when it is assigned, and only for rows that are; its default is that of a
-- column without one.
CREATE DOMAIN positive AS integer CHECK (value > 0);
CREATE DOMAIN filled AS text NOT NULL CHECK (value <> '');
CREATE DOMAIN amount AS numeric(10,2) DEFAULT 7;
CREATE DOMAIN short AS varchar(3);
CREATE FUNCTION is_known(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT length($1) < 100';
CREATE DOMAIN known AS text COLLATE "C" CHECK (is_known(value));
CREATE TABLE other (id integer PRIMARY KEY, n positive, f text);
INSERT INTO other SELECT i, i + 1, CASE WHEN i % 3 = 0 THEN '' ELSE 'f' || i END FROM generate_series(1, 25) AS i;
CREATE TABLE t (id serial PRIMARY KEY, p positive, f filled, a amount, s short, k known, n integer);
INSERT INTO t (p, f, n) SELECT i, 'f', i - 3 FROM generate_series(1, 40) AS i;
-- upgrade
UPDATE t SET p = n WHERE n > 0;
UPDATE t SET p = p + n WHERE p + n > 0;
UPDATE t SET f = o.f FROM other AS o WHERE o.id = t.id AND o.f <> '';
UPDATE t SET p = o.n, a = p / 3.0 FROM other AS o WHERE o.id = t.id;
UPDATE t AS x SET f = coalesce(o.f, '-') || y.f FROM t AS y LEFT JOIN other AS o ON o.id = y.n WHERE x.id = y.id;
UPDATE t SET n = p * 2 WHERE p % 2 = 0;
ALTER TABLE t ADD COLUMN b amount;
UPDATE t SET b = b + p WHERE id > 3;
UPDATE t SET s = 'abc  ', k = f WHERE id > 5;
UPDATE t SET p = DEFAULT WHERE id = 1;
UPDATE t SET a = DEFAULT WHERE id < 9;
