-- A pass joins every row, also those that a condition on the target alone keeps out of psql's joins: what
-- the join computes of them must not be computed. Nor what a cheaper condition keeps from being asked.
CREATE TABLE u (id integer PRIMARY KEY, label text);
INSERT INTO u SELECT i, 'u' || i FROM generate_series(1, 40) AS i;
CREATE TABLE t (id serial PRIMARY KEY, kind text, value text, n integer, label text);
INSERT INTO t (kind, value, n)
SELECT CASE WHEN i % 2 = 0 THEN 'id' ELSE 'text' END, CASE WHEN i % 2 = 0 THEN i::text ELSE 'no number' END, i % 5
FROM generate_series(1, 60) AS i;
-- upgrade
UPDATE t SET n = n + 1;
-- Rows, elements of arrays, subqueries: nobody looks into all of these.
UPDATE t SET label = u.label FROM u WHERE (t.value::integer, 1) = (u.id, 1) AND t.kind = 'id';
UPDATE t SET label = u.label || '.' FROM u WHERE (ARRAY[t.value])[1]::integer = u.id AND t.kind = 'id';
UPDATE t SET label = u.label || ':' FROM u
 WHERE u.id = (SELECT max(v.id) FROM u AS v WHERE v.id = t.value::integer) AND t.kind = 'id';
UPDATE t SET label = u.label FROM u WHERE t.value::integer = u.id AND t.kind = 'id';
UPDATE t SET n = u.id + n FROM u WHERE u.id = t.id AND u.id + value::integer > 20 AND t.kind = 'id';
UPDATE t AS a SET label = coalesce(u.label, 'none') || '!'
FROM t AS b LEFT JOIN u ON u.id = b.value::integer WHERE a.id = b.id AND b.kind = 'id';
UPDATE t AS a SET n = 10 / (b.n - 1) FROM t AS b JOIN u ON u.id = b.id WHERE a.id = b.id AND b.n <> 1;
DELETE FROM t USING u WHERE u.id = t.value::integer AND t.kind = 'id' AND u.id > 35;
UPDATE t SET n = value::integer WHERE value::integer > 5 AND kind = 'id';
DELETE FROM t WHERE value::integer > 30 AND kind = 'id';
