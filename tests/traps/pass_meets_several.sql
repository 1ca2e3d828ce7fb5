-- a row that meets several rows of FROM is changed once, whichever of them it is: with and without an
-- index that finds them, with NULLs among the keys, conditions on each side, and no key at all
CREATE TABLE t (id serial PRIMARY KEY, journal integer, prefix varchar(8), number integer, gap boolean, seen integer,
    price numeric(6, 2));
INSERT INTO t (journal, prefix, number, price)
SELECT i % 3, CASE WHEN i % 11 > 0 THEN 'P' || i % 2 END, CASE WHEN i % 7 > 0 THEN i / 4 END, i % 5
  FROM generate_series(1, 120) AS i;
CREATE INDEX t_next ON t (journal, prefix, (number + 1));
CREATE TABLE u (journal integer, "odd ""name" integer, rate numeric, day date);
INSERT INTO u SELECT nullif(i % 4, 3), i % 9, i % 5, date '2020-01-01' + i % 3 FROM generate_series(1, 50) AS i;
CREATE TABLE v (journal integer, note text);
INSERT INTO v SELECT i % 2, 'note ' || i % 3 FROM generate_series(1, 9) AS i;

-- As double precision two of these are one.
CREATE TABLE w (exact numeric, place box);
INSERT INTO w VALUES (0.1, '(1,1),(0,0)'), (0.10000000000000000001, '(1,1),(0,0)'), (2, NULL);
ALTER TABLE t ADD COLUMN rough double precision DEFAULT 0.1, ADD COLUMN place box DEFAULT '(2,1),(1,0)';

-- upgrade
ALTER TABLE t ADD COLUMN made boolean DEFAULT true;
-- By the index, whose keys stand in another order here.
UPDATE t AS this SET made = false FROM t AS b
 WHERE b.prefix = this.prefix AND b.number + 1 = this.number AND this.journal = b.journal;
-- Reads what the statement before it wrote, of the row at hand.
UPDATE t SET gap = NOT made, seen = coalesce(seen, 0) + 1 FROM u
 WHERE u."odd ""name" = t.number AND u.rate = t.price AND t.made IS NOT NULL AND u.day > date '2020-01-01';
UPDATE t SET seen = coalesce(t.seen, 0) + 10 FROM u, v
 WHERE u.journal = t.journal AND v.journal = u.journal AND v.note <> 'note 1';
UPDATE t SET seen = coalesce(seen, 0) + 100 FROM u JOIN v ON v.journal = u.journal WHERE u.rate * 2 = t.price + 1;
-- No key: every row of the journal, or none.
UPDATE t SET seen = coalesce(seen, 0) + 1000 FROM v WHERE v.note = 'note 2' AND t.journal = 1;
UPDATE t SET seen = coalesce(seen, 0) + 10000 FROM v WHERE v.note = 'there is none' AND t.journal = 1;
UPDATE t SET price = 0 FROM v WHERE t.journal = v.journal;
UPDATE t SET seen = 1 FROM w WHERE t.rough = w.exact;
UPDATE t SET seen = 2 FROM w WHERE t.place = w.place;
