CREATE SCHEMA other;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TABLE company (id serial PRIMARY KEY, name varchar NOT NULL UNIQUE, code varchar(8));
CREATE TABLE partner (
    id serial PRIMARY KEY,
    name text,
    company_id integer REFERENCES company ON DELETE SET NULL,
    active boolean DEFAULT true,
    "Straße" varchar(40),
    created timestamp DEFAULT now(),
    parent_id integer REFERENCES partner
);
CREATE INDEX partner_name_index ON partner (name);
CREATE TABLE "Order Line" (
    "Id" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partner_id integer NOT NULL REFERENCES partner ON DELETE CASCADE,
    price numeric(10, 2) CHECK (price >= 0),
    quantity integer DEFAULT 1,
    total numeric GENERATED ALWAYS AS (price * quantity) STORED,
    mood mood
);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER touch BEFORE UPDATE OF name ON partner FOR EACH ROW EXECUTE FUNCTION touch();
CREATE VIEW active_partner AS SELECT p.id, p.name, c.name AS company FROM partner p JOIN company c ON c.id = p.company_id WHERE p.active;
CREATE SEQUENCE free_seq;
