-- a column that the pass adds with a foreign key gets another name in the same pass
CREATE TABLE parent (id integer PRIMARY KEY);
INSERT INTO parent SELECT generate_series(1, 9);
CREATE TABLE t (id serial PRIMARY KEY, a integer, b text);
INSERT INTO t (a, b) SELECT i % 7, 'b' || i FROM generate_series(1, 60) AS i;

-- upgrade
ALTER TABLE t ADD COLUMN to_30 integer REFERENCES parent ON DELETE CASCADE;
UPDATE t SET to_30 = 1 + a % 9, b = upper(b);
ALTER TABLE t RENAME COLUMN to_30 TO "re ""named";
UPDATE t SET a = "re ""named" + 1 WHERE "re ""named" > 2;
