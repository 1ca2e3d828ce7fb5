CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
CREATE VIEW plain AS SELECT id, a FROM t WHERE a > 2;
CREATE VIEW other AS SELECT id, b FROM t;
COMMENT ON VIEW other IS 'the other';
GRANT SELECT ON other TO PUBLIC;
CREATE MATERIALIZED VIEW mat AS SELECT a, count(*) AS n FROM t GROUP BY a;
CREATE UNIQUE INDEX mat_a_idx ON mat (a);
-- upgrade
CREATE OR REPLACE VIEW plain AS SELECT id, a, b FROM t WHERE a > 2;
DROP VIEW other;
ALTER VIEW plain RENAME TO renamed;
DROP MATERIALIZED VIEW mat;
UPDATE t SET a = a + 1;
