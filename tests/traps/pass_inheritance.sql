-- a table that inherits is built anew by statements that name it, between statements on its parents
CREATE TABLE grand (id integer, a integer DEFAULT 1);
CREATE TABLE parent (b text, CHECK (a < 1000)) INHERITS (grand);
CREATE TABLE other (c integer NOT NULL DEFAULT 3);
CREATE TABLE t (d text, b text, PRIMARY KEY (id)) INHERITS (parent, other);
CREATE TABLE sibling () INHERITS (parent);
INSERT INTO t (id, a, b, d) SELECT i, i % 7, 'row ' || i, 'd' FROM generate_series(1, 60) i;
INSERT INTO sibling (id, a, b) SELECT 100 + i, i % 7, 'row ' || i FROM generate_series(1, 10) i;
INSERT INTO other SELECT 1;
-- upgrade
CREATE TABLE seen AS SELECT tableoid::regclass::text AS name, id, a FROM grand;
UPDATE t SET a = a * 2, b = b || '!' WHERE id > 3;
UPDATE ONLY t SET b = upper(b), c = c + a;
DELETE FROM t WHERE a = 2;
INSERT INTO seen SELECT tableoid::regclass::text, id, a FROM grand;
ALTER TABLE grand ADD COLUMN e integer DEFAULT 4;
UPDATE t SET e = a + e;
ALTER TABLE parent RENAME COLUMN b TO "b ""renamed""";
UPDATE t SET "b ""renamed""" = d WHERE id = 7;
UPDATE t SET d = d || c;
INSERT INTO seen SELECT tableoid::regclass::text, c, 0 FROM other;
