-- what a statement would raise for rows that an earlier one of the pass deletes is not raised, in
-- whatever order PostgreSQL would like to evaluate conditions
CREATE TABLE parent (id integer PRIMARY KEY, gone boolean, n integer);
INSERT INTO parent SELECT i, i = 5, i FROM generate_series(1, 5) i;
CREATE TABLE t (id serial PRIMARY KEY, parent_id integer, n integer, code text, result integer);
INSERT INTO t (parent_id, n, code) SELECT 1 + i % 5, 4 - i % 5, 'c' || i % 7 FROM generate_series(1, 100) i;
ANALYZE t;
ANALYZE parent;

-- upgrade
DELETE FROM t USING parent WHERE parent.id = t.parent_id AND parent.gone;
DELETE FROM t WHERE 100 / n > 99;
UPDATE t SET result = p.n FROM parent p WHERE p.id = t.parent_id AND 100 / t.n > 20;
-- file: post-a.sql
DELETE FROM t WHERE replace(replace(replace(code, 'c1', 'x'), 'c', 'd'), 'd', 'e') = 'x';
DELETE FROM t WHERE 10 / (substr(code, 2)::integer - 1) > 5;
