CREATE TABLE t (id serial PRIMARY KEY, i integer DEFAULT 7 NOT NULL, v varchar(20) DEFAULT 'x', ts timestamp, n numeric, d date, f double precision, bo boolean);
INSERT INTO t (i, v, ts, n, d, f, bo) SELECT i, 'v' || i, timestamp '2024-01-01 10:00:00.123456' + i * interval '1 hour', i / 7.0, date '2024-02-28' + i, i / 3.0, i % 2 = 0 FROM generate_series(1, 20) AS i;
CREATE INDEX t_i_idx ON t (i);
CREATE UNIQUE INDEX t_v_idx ON t (v) WHERE i > 3;
COMMENT ON COLUMN t.n IS 'n';
CREATE TABLE r (id serial PRIMARY KEY, t_id integer REFERENCES t (id));
INSERT INTO r (t_id) SELECT i FROM generate_series(1, 20) AS i;
-- upgrade
ALTER TABLE t ALTER COLUMN i TYPE bigint;
ALTER TABLE t ALTER COLUMN v TYPE text;
ALTER TABLE t ALTER COLUMN v TYPE varchar(30);
ALTER TABLE t ALTER COLUMN ts TYPE timestamptz USING ts AT TIME ZONE 'UTC';
ALTER TABLE t ALTER COLUMN n TYPE numeric(10, 2);
ALTER TABLE t ALTER COLUMN d TYPE timestamp USING d + time '12:00';
ALTER TABLE t ALTER COLUMN f TYPE real;
ALTER TABLE t ALTER COLUMN bo TYPE integer USING CASE WHEN bo THEN 1 ELSE 0 END;
ALTER TABLE t ALTER COLUMN id TYPE bigint;
ALTER TABLE r ALTER COLUMN t_id TYPE bigint;
