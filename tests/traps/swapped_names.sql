CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
CREATE TABLE u (id serial PRIMARY KEY, a text);
INSERT INTO u (a) SELECT 'u' || i FROM generate_series(1, 9) AS i;
-- upgrade
ALTER TABLE t RENAME COLUMN a TO tmp;
ALTER TABLE t RENAME COLUMN b TO a;
ALTER TABLE t RENAME COLUMN tmp TO b;
UPDATE t SET a = a || '!', b = b + 1 WHERE a IS NOT NULL;
ALTER TABLE t RENAME TO swap;
ALTER TABLE u RENAME TO t;
ALTER TABLE swap RENAME TO u;
UPDATE t SET a = upper(a);
UPDATE u SET b = b * 2;
DELETE FROM t WHERE id = 3;
