CREATE TABLE t (id serial PRIMARY KEY, r int4range, s integer, EXCLUDE USING gist (r WITH &&));
INSERT INTO t (r, s) SELECT int4range(i * 10, i * 10 + 5), i FROM generate_series(1, 20) AS i;
-- upgrade
UPDATE t SET r = int4range(s * 10 + 1, s * 10 + 6);
ALTER TABLE t DROP CONSTRAINT t_r_excl;
UPDATE t SET r = int4range(0, 100);
ALTER TABLE t ALTER COLUMN r TYPE text USING r::text;
