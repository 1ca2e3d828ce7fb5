-- expect: stops
-- Two columns of different collations cannot be compared, in a pass either.
CREATE TABLE words (id serial PRIMARY KEY, c text COLLATE "C", p text COLLATE "POSIX", flag boolean);
INSERT INTO words (c, p) SELECT 'w' || i, 'w' || i FROM generate_series(1, 20) AS i;
-- upgrade
UPDATE words SET c = p WHERE id % 2 = 0;
UPDATE words SET flag = c < p;
