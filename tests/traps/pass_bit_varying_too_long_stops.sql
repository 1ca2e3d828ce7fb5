-- expect: stops
-- An assignment refuses what an explicit cast would cut.
CREATE TABLE codes (id serial PRIMARY KEY, code char(4), raw bit(3), bits bit varying(5), n integer);
INSERT INTO codes (code, raw, bits) SELECT 'a', B'101', B'11' FROM generate_series(1, 20);
-- upgrade
UPDATE codes SET n = id;
UPDATE codes SET bits = B'101010' WHERE id = 7;
