-- a table without a key is copied, and what refers to its rows must not go while they are put back
CREATE TABLE t (a integer UNIQUE, b text);
INSERT INTO t SELECT nullif(i, 7), 'row ' || i FROM generate_series(1, 20) i;
CREATE TABLE c (id serial PRIMARY KEY, t integer REFERENCES t (a) ON DELETE CASCADE);
INSERT INTO c (t) SELECT i FROM generate_series(8, 20) i;
CREATE TABLE n (id serial PRIMARY KEY, t integer REFERENCES t (a) ON DELETE SET NULL);
INSERT INTO n (t) SELECT i FROM generate_series(8, 20) i;
CREATE TABLE r (id serial PRIMARY KEY, t integer REFERENCES t (a) ON DELETE RESTRICT);
INSERT INTO r (t) SELECT i FROM generate_series(8, 20) i;
CREATE TABLE two (a integer UNIQUE DEFERRABLE, b text);
INSERT INTO two SELECT i, 'row ' || i FROM generate_series(1, 20) i;
-- upgrade
UPDATE t SET b = b || '!';
INSERT INTO t VALUES (100, 'new'), (NULL, 'none') ;
UPDATE two SET b = b || '!';
