-- a partition is built anew between statements on its parent, and gets rows that the parent would refuse
CREATE TABLE "the parent" (id integer NOT NULL, a integer, b text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE low PARTITION OF "the parent" FOR VALUES FROM (0) TO (50);
CREATE TABLE high PARTITION OF "the parent" FOR VALUES FROM (50) TO (1000);
INSERT INTO "the parent" SELECT i, i % 7, 'row ' || i FROM generate_series(1, 90) AS i;
-- upgrade
UPDATE "the parent" SET a = a + 1;
UPDATE low SET a = a * 2, b = b || '!' WHERE id > 3;
UPDATE low SET b = upper(b);
DELETE FROM low WHERE a = 2;
UPDATE "the parent" SET b = b || '?' WHERE a > 3;
ALTER TABLE "the parent" ADD COLUMN c integer DEFAULT 4;
UPDATE low SET c = a + c;
DELETE FROM "the parent" WHERE id = 7;
