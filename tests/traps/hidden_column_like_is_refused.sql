-- expect: refused: LIKE takes over all columns
CREATE TABLE t (id serial PRIMARY KEY, a integer, b text);
-- upgrade
ALTER TABLE t DROP COLUMN b;
CREATE TABLE likewise (LIKE t INCLUDING ALL);
