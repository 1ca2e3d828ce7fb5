CREATE TABLE t (id serial PRIMARY KEY, v varchar(3), n numeric(4, 1), ch char(4));
INSERT INTO t (v, n, ch) SELECT i::text, i / 3.0, 'c' || i FROM generate_series(1, 30) AS i;
-- upgrade
UPDATE t SET v = (v || 'xxx')::varchar(3), n = n * 1.07, ch = trim(ch) || '!';
ALTER TABLE t ALTER COLUMN v TYPE varchar(2) USING v::varchar(2);
ALTER TABLE t ALTER COLUMN n TYPE integer;
ALTER TABLE t ALTER COLUMN ch TYPE text;
