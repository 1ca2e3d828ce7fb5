CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
CREATE SCHEMA other;
CREATE TABLE other.t (id integer PRIMARY KEY, a integer);
INSERT INTO other.t SELECT i, i FROM generate_series(1, 20) AS i;
-- upgrade
SET search_path = other, public;
UPDATE t SET a = a + 1000;
ALTER TABLE t ADD COLUMN made text;
SET datestyle = 'German';
UPDATE t SET made = date '2024-12-31';
SET timezone = 'Asia/Tokyo';
CREATE TABLE stamped AS SELECT timestamptz '2024-01-01 00:00:00+00'::text AS at;
-- file: pre-b.sql
UPDATE t SET a = -1;
