CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE pair AS (x integer, y text);
CREATE TABLE t (id serial PRIMARY KEY, p positive, m mood DEFAULT 'sad', c pair, arr integer[], j jsonb);
INSERT INTO t (p, c, arr, j) SELECT i, ROW(i, 'y' || i)::pair, ARRAY[i, i + 1], jsonb_build_object('k', i) FROM generate_series(1, 20) AS i;
-- upgrade
UPDATE t SET p = p + 1, m = 'ok' WHERE id > 5;
UPDATE t SET c.x = 99, arr[2] = 0;
UPDATE t SET j['k'] = '"changed"', c.y = NULL WHERE id < 10;
INSERT INTO t (p, m) VALUES (5, 'ok');
ALTER TABLE t ALTER COLUMN m TYPE text;
ALTER TABLE t ALTER COLUMN m DROP DEFAULT;
DROP TYPE mood;
