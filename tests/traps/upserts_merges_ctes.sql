CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
CREATE TABLE archive (LIKE t);
CREATE TABLE counts (k text PRIMARY KEY, n integer NOT NULL DEFAULT 0);
INSERT INTO counts VALUES ('rows', 1);
-- upgrade
INSERT INTO t (id, a, b) SELECT i, 9, 'upsert' FROM generate_series(35, 45) AS i ON CONFLICT (id) DO UPDATE SET b = excluded.b;
INSERT INTO t (a, b, id) SELECT 1, 'nothing', i FROM generate_series(1, 50) AS i ON CONFLICT DO NOTHING;
INSERT INTO counts (k) VALUES ('rows'), ('other') ON CONFLICT (k) DO UPDATE SET n = counts.n + 1;
WITH gone AS (DELETE FROM t WHERE a = 4 RETURNING *) INSERT INTO archive SELECT * FROM gone;
MERGE INTO t USING archive AS s ON s.id = t.id + 1
 WHEN MATCHED AND t.a = 3 THEN DELETE WHEN MATCHED THEN UPDATE SET b = 'merged' WHEN NOT MATCHED THEN INSERT (id, b) VALUES (s.id + 5000, 'new');
WITH up AS (UPDATE t SET c = c + 1 WHERE id < 5 RETURNING id) UPDATE t SET a = 0 WHERE id IN (SELECT id + 10 FROM up);
TRUNCATE counts;
TRUNCATE archive RESTART IDENTITY;
