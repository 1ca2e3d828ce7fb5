CREATE TABLE t (id serial PRIMARY KEY, a text, b text);
INSERT INTO t (a, b) SELECT ' ' || i || '.0', 'row ' || i FROM generate_series(1, 40) AS i;
-- upgrade
ALTER TABLE t ALTER COLUMN a TYPE numeric USING a::numeric;
CREATE TABLE copied AS SELECT * FROM t;
INSERT INTO t SELECT id + 100, a + 0.5, b FROM t WHERE id < 10;
INSERT INTO copied SELECT t.* FROM t WHERE id > 100;
CREATE VIEW v AS TABLE t;
