-- A small ERP-like database: a few thousand rows, so that a run of many small units takes about a
-- second. Everything is computed from row numbers: two of them are equal.
CREATE TABLE installed_module (name text PRIMARY KEY, version text NOT NULL);
INSERT INTO installed_module VALUES ('base', '1.0'), ('account', '1.0'), ('sale', '1.0'), ('stock', '1.0');

CREATE TABLE partner (
    id serial PRIMARY KEY,
    name varchar NOT NULL,
    email varchar,
    legacy_code varchar(12) NOT NULL DEFAULT 'none',
    credit double precision,
    translations jsonb,
    created timestamp NOT NULL
);
CREATE INDEX partner_legacy_code_idx ON partner (legacy_code);
INSERT INTO partner (name, email, legacy_code, credit, translations, created)
SELECT 'Partner ' || i, CASE WHEN i % 7 > 0 THEN 'P' || i || '@Example.COM ' END, 'L' || i, i / 7.0,
       jsonb_build_object('en', 'Partner ' || i, 'de', 'Partnerin ' || i),
       timestamp '2020-01-01' + i * interval '1 hour'
  FROM generate_series(1, 900) AS i;

CREATE TABLE tag (id serial PRIMARY KEY, name varchar NOT NULL UNIQUE);
INSERT INTO tag (name) SELECT 'tag ' || i FROM generate_series(1, 12) AS i;
CREATE TABLE partner_tag (
    partner_id integer NOT NULL REFERENCES partner (id) ON DELETE CASCADE,
    tag_id integer NOT NULL REFERENCES tag (id) ON DELETE CASCADE,
    PRIMARY KEY (partner_id, tag_id)
);
INSERT INTO partner_tag SELECT p, 1 + (p + t * 5) % 12 FROM generate_series(1, 900) AS p, generate_series(1, 2) AS t;

CREATE TABLE move (
    id serial PRIMARY KEY,
    journal_id integer NOT NULL,
    prefix varchar NOT NULL,
    number integer NOT NULL,
    state varchar NOT NULL,
    date date NOT NULL,
    partner_id integer REFERENCES partner (id) ON DELETE RESTRICT,
    UNIQUE (journal_id, prefix, number)
);
INSERT INTO move (journal_id, prefix, number, state, date, partner_id)
SELECT 1 + i % 4, 'M' || i % 3, i + i / 50, CASE WHEN i % 9 = 0 THEN 'draft' ELSE 'posted' END,
       date '2021-01-01' + i % 700, 1 + i % 900
  FROM generate_series(1, 1500) AS i;

CREATE TABLE line (
    id serial PRIMARY KEY,
    move_id integer NOT NULL REFERENCES move (id) ON DELETE CASCADE,
    partner_id integer REFERENCES partner (id),
    quantity double precision NOT NULL,
    price numeric NOT NULL,
    note varchar,
    state varchar,
    obsolete text
);
CREATE INDEX line_move_id_idx ON line (move_id);
INSERT INTO line (move_id, quantity, price, note, obsolete)
SELECT 1 + i % 1500, i % 11, (i % 997) / 3.0, CASE WHEN i % 5 > 0 THEN 'a note on line ' || i END, repeat('x', i % 40)
  FROM generate_series(1, 5000) AS i;
COMMENT ON COLUMN line.obsolete IS 'nobody reads it';
GRANT SELECT (obsolete) ON line TO PUBLIC;

-- Without a key: what writes it has to be copied whole.
CREATE TABLE journal_note (journal_id integer, text varchar);
INSERT INTO journal_note SELECT 1 + i % 4, 'note ' || i % 60 FROM generate_series(1, 200) AS i;

CREATE TABLE counter (name varchar PRIMARY KEY, value bigint NOT NULL);
INSERT INTO counter VALUES ('moves', 0), ('lines', 0);

CREATE TABLE old_queue (id serial PRIMARY KEY, payload text, move_id integer REFERENCES move (id));
INSERT INTO old_queue (payload, move_id) SELECT 'job ' || i, i FROM generate_series(1, 150) AS i;

CREATE VIEW open_line AS SELECT id, move_id, quantity FROM line WHERE state IS NULL;
