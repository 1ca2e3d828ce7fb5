-- expect: refused: undo
CREATE TABLE p (id integer, k integer, v text, PRIMARY KEY (id, k)) PARTITION BY RANGE (k);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (100);
INSERT INTO p SELECT i, i % 20, 'v' || i FROM generate_series(1, 40) AS i;
CREATE TABLE base (id serial PRIMARY KEY, a integer);
CREATE TABLE derived (b text) INHERITS (base);
INSERT INTO base (a) SELECT i FROM generate_series(1, 10) AS i;
INSERT INTO derived (a, b) SELECT i, 'b' FROM generate_series(1, 10) AS i;
-- upgrade
UPDATE p SET v = v || '!';
UPDATE p SET k = k + 5 WHERE k < 10;
DELETE FROM p WHERE id % 7 = 0;
INSERT INTO p SELECT id + 1000, k, v FROM p;
UPDATE base SET a = a + 1;
UPDATE ONLY base SET a = a * 2;
DELETE FROM base WHERE a = 4;
ALTER TABLE base ADD COLUMN n integer DEFAULT 3;
UPDATE base SET n = a;
