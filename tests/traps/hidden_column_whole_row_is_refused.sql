-- expect: refused: this is a whole row of a table
CREATE TABLE t (id serial PRIMARY KEY, a integer, b text);
-- upgrade
ALTER TABLE t DROP COLUMN b;
CREATE TABLE rows AS SELECT t AS of_t FROM t;
