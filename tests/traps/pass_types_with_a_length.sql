-- character, bit and bit varying: an assignment fills up, and refuses what an explicit cast cuts. What later
-- statements of the pass read is what the column would have held.
CREATE TABLE codes (
    id serial PRIMARY KEY, code char(4), one char, raw bit(3), bits bit varying(5), note text, n integer,
    ranges int4range, price money);
INSERT INTO codes (code, one, raw, bits, n)
SELECT left(md5(i::text), i % 5), 'x', B'101', B'11', i FROM generate_series(1, 40) AS i;
-- upgrade
UPDATE codes SET code = 'a' WHERE id % 2 = 0;
UPDATE codes SET note = code || '|', n = octet_length(code) + length(code);
UPDATE codes SET code = note || '    ' WHERE length(note) < 5;
UPDATE codes SET note = '[' || octet_length(code) || ']' || code || '|' WHERE code = 'a|';
UPDATE codes SET code = left(note, 3)::varchar, one = upper(one), raw = '110', bits = B'1' WHERE id % 3 = 0;
UPDATE codes SET n = n + bit_length(code::text), note = note || raw || bits WHERE raw = B'110' AND code LIKE '[%';
UPDATE codes SET bits = bits || B'01', ranges = int4range(id, id + n), price = n WHERE length(bits) < 3;
UPDATE codes SET code = n WHERE n < 1000;
UPDATE codes SET note = code, n = octet_length(code) WHERE code > '2';
ALTER TABLE codes ADD COLUMN late char(6) DEFAULT 'z';
UPDATE codes SET note = note || late || '.', n = n + octet_length(late);
UPDATE codes SET late = code WHERE id % 4 = 0;
