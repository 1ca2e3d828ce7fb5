-- A column keeps its collation whatever is assigned to it, also while it is on its way through a pass: what
-- later statements compare it by.
CREATE TABLE words (
    id serial PRIMARY KEY, plain text, c text COLLATE "C", p varchar(12) COLLATE "und-x-icu", flag boolean, n integer);
INSERT INTO words (plain, c, p)
SELECT w, w, w FROM unnest(ARRAY['a', 'B', 'c', 'D', 'e', 'Zz', 'zZ', 'ab', 'aB', 'AB', '_x', 'x y', NULL]) AS w,
    generate_series(1, 3);
CREATE TABLE other (id integer PRIMARY KEY, c text COLLATE "und-x-icu");
INSERT INTO other SELECT i, 'w' || i FROM generate_series(1, 30) AS i;
-- upgrade
UPDATE words SET plain = c WHERE id % 2 = 0;
UPDATE words SET c = p WHERE id % 3 = 0;
UPDATE words SET p = plain || c WHERE id % 5 = 0;
UPDATE words SET flag = plain < 'a', n = (c < 'a')::integer + 2 * (p < 'a')::integer;
UPDATE words SET plain = o.c FROM other AS o WHERE o.id = words.id;
UPDATE words SET flag = flag AND plain > 'W' WHERE plain < c OR plain < 'B' COLLATE "C";
UPDATE words SET c = upper(plain COLLATE "C"), plain = lower(p COLLATE "und-x-icu") WHERE p > 'B';
ALTER TABLE words ADD COLUMN late text COLLATE "C" DEFAULT 'q';
UPDATE words SET n = n + 10 WHERE late < 'a' OR late > 'Q';
UPDATE words SET late = plain;
UPDATE words SET n = n + 100 WHERE late < 'a';
ALTER TABLE words ALTER COLUMN c TYPE varchar;
UPDATE words SET n = n + 1000 WHERE c < 'a';
DELETE FROM words WHERE plain < 'B' AND c > 'b';
