-- a long chain of statements, each of which mentions what the one before wrote several times
CREATE TABLE t (id serial PRIMARY KEY, a integer, b integer);
INSERT INTO t (a, b) SELECT i, i * 2 FROM generate_series(1, 20) i;

-- upgrade
UPDATE t SET a = CASE WHEN a > b THEN a % 97 + b ELSE a + 1 END, b = CASE WHEN a > 1 THEN b - a ELSE a + b % 89 END WHERE a <> b + 1;
UPDATE t SET a = CASE WHEN a > b THEN a % 97 + b ELSE a + 1 END, b = CASE WHEN a > 2 THEN b - a ELSE a + b % 89 END WHERE a <> b + 2;
UPDATE t SET a = CASE WHEN a > b THEN a % 97 + b ELSE a + 1 END, b = CASE WHEN a > 3 THEN b - a ELSE a + b % 89 END WHERE a <> b + 3;
UPDATE t SET a = CASE WHEN a > b THEN a % 97 + b ELSE a + 1 END, b = CASE WHEN a > 4 THEN b - a ELSE a + b % 89 END WHERE a <> b + 4;
UPDATE t SET a = CASE WHEN a > b THEN a % 97 + b ELSE a + 1 END, b = CASE WHEN a > 5 THEN b - a ELSE a + b % 89 END WHERE a <> b + 5;
UPDATE t SET a = CASE WHEN a > b THEN a % 97 + b ELSE a + 1 END, b = CASE WHEN a > 6 THEN b - a ELSE a + b % 89 END WHERE a <> b + 6;
UPDATE t SET a = CASE WHEN a > b THEN a % 97 + b ELSE a + 1 END, b = CASE WHEN a > 7 THEN b - a ELSE a + b % 89 END WHERE a <> b + 7;
UPDATE t SET a = CASE WHEN a > b THEN a % 97 + b ELSE a + 1 END, b = CASE WHEN a > 8 THEN b - a ELSE a + b % 89 END WHERE a <> b + 8;
UPDATE t SET a = CASE WHEN a > b THEN a % 97 + b ELSE a + 1 END, b = CASE WHEN a > 9 THEN b - a ELSE a + b % 89 END WHERE a <> b + 9;
UPDATE t SET a = CASE WHEN a > b THEN a % 97 + b ELSE a + 1 END, b = CASE WHEN a > 10 THEN b - a ELSE a + b % 89 END WHERE a <> b + 10;
UPDATE t SET a = CASE WHEN a > b THEN a % 97 + b ELSE a + 1 END, b = CASE WHEN a > 11 THEN b - a ELSE a + b % 89 END WHERE a <> b + 11;
UPDATE t SET a = CASE WHEN a > b THEN a % 97 + b ELSE a + 1 END, b = CASE WHEN a > 12 THEN b - a ELSE a + b % 89 END WHERE a <> b + 12;
UPDATE t SET a = CASE WHEN a > b THEN a % 97 + b ELSE a + 1 END, b = CASE WHEN a > 13 THEN b - a ELSE a + b % 89 END WHERE a <> b + 13;
UPDATE t SET a = CASE WHEN a > b THEN a % 97 + b ELSE a + 1 END, b = CASE WHEN a > 14 THEN b - a ELSE a + b % 89 END WHERE a <> b + 14;
DELETE FROM t WHERE a = 5;
UPDATE t SET b = b + a;
