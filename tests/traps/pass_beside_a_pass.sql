-- three passes over one table, of which the second takes in a statement from behind the third
CREATE TABLE t (id serial PRIMARY KEY, number bigint, short varchar(6), code char(4), other integer);
INSERT INTO t (number, short, code) SELECT i, 'v' || i, 'c' || i FROM generate_series(1, 60) i;

-- upgrade
UPDATE t SET short = left(md5(number::text), 6);
ALTER TABLE t ADD COLUMN added text;
ALTER TABLE t ALTER COLUMN number TYPE text USING number::text;
-- file: post-a.sql
UPDATE t SET code = left(short || '-', 4), other = 15;
UPDATE t SET short = 'v9';
UPDATE t SET number = 'v64' WHERE number LIKE '%3';
