-- expect: refused: undo
CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
CREATE TABLE log (n integer);
CREATE RULE t_rule AS ON DELETE TO t DO ALSO INSERT INTO log VALUES (old.id);
CREATE TABLE p (id serial PRIMARY KEY, a integer);
INSERT INTO p (a) SELECT i FROM generate_series(1, 20) AS i;
ALTER TABLE p ENABLE ROW LEVEL SECURITY;
ALTER TABLE p FORCE ROW LEVEL SECURITY;
CREATE POLICY half ON p USING (id % 2 = 0) WITH CHECK (true);
-- upgrade
DELETE FROM t WHERE id = 5;
UPDATE p SET a = a + 100;
DROP RULE t_rule ON t;
DELETE FROM t WHERE id = 6;
ALTER TABLE p NO FORCE ROW LEVEL SECURITY;
UPDATE p SET a = a + 100;
DROP POLICY half ON p;
