CREATE TABLE t (id serial PRIMARY KEY, n numeric DEFAULT 1.5 CONSTRAINT t_n_check CHECK (n > 0), m numeric, r int4range,
  CONSTRAINT t_both CHECK (n + m < 1000) NOT VALID);
COMMENT ON CONSTRAINT t_n_check ON t IS 'positive';
INSERT INTO t (n, m, r) SELECT i / 3.0, i, int4range(i * 10, i * 10 + 5) FROM generate_series(1, 20) AS i;
CREATE INDEX t_n_idx ON t (m) WHERE n > 2;
CREATE INDEX t_expr_idx ON t ((n * 2), id);
COMMENT ON INDEX t_expr_idx IS 'twice';
ALTER TABLE t ADD EXCLUDE USING gist (r WITH &&) WHERE (n < 5);
-- upgrade
ALTER TABLE t ALTER COLUMN n TYPE double precision USING round(n, 1)::double precision;
ALTER TABLE t ALTER COLUMN m TYPE bigint;
UPDATE t SET n = n + 1;
