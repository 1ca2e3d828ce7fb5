CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
CREATE TABLE u (id integer PRIMARY KEY, t_id integer, z integer);
INSERT INTO u SELECT i, 1 + i % 40, i * 3 FROM generate_series(1, 100) AS i;
CREATE INDEX u_t_id_idx ON u (t_id);
-- upgrade
UPDATE t SET a = (SELECT max(z) FROM u WHERE u.t_id = t.id);
UPDATE t SET b = (SELECT string_agg(z::text, ',' ORDER BY u.id) FROM u WHERE u.t_id = t.id) WHERE a > 100;
UPDATE t SET c = s.n FROM (SELECT t_id, count(*) AS n FROM u GROUP BY t_id HAVING count(*) > 1) AS s WHERE s.t_id = t.id;
DELETE FROM u WHERE id IN (SELECT id FROM u ORDER BY z DESC LIMIT 13);
UPDATE u SET z = 0 WHERE t_id IN (SELECT id FROM t WHERE a % 2 = 0);
UPDATE u SET z = x.mx FROM t AS q CROSS JOIN LATERAL (SELECT q.id + 1 AS mx) AS x WHERE q.id = u.t_id;
DELETE FROM t USING u WHERE u.t_id = t.id AND u.z = 10;
WITH big AS (SELECT t_id FROM u GROUP BY t_id) UPDATE t SET b = 'cte' FROM big WHERE big.t_id = t.id AND t.id > 30;
