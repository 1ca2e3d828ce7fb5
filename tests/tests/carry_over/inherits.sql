-- several parents and a grandparent; columns of its own between inherited ones, some both; the roles are there
-- already
CREATE SCHEMA "a.b";
CREATE DOMAIN short AS varchar(20) COLLATE "C" DEFAULT 'd';
CREATE TABLE grand (id integer NOT NULL, "odd "" name" text COLLATE "C" DEFAULT 'g', CONSTRAINT of_grand CHECK (id > 0));
CREATE TABLE "a.b"."the ""parent""" (id integer NOT NULL, x integer DEFAULT 1, big text, gone text,
    CONSTRAINT "both" CHECK (x > -5), CONSTRAINT "alone. here" CHECK (x < 99) NO INHERIT) INHERITS (grand);
CREATE TABLE second (x integer DEFAULT 1, from_second short, CONSTRAINT "both" CHECK (x > -5));
CREATE TABLE third (other numeric(8, 2));
CREATE TABLE parent (id integer PRIMARY KEY);
INSERT INTO parent SELECT generate_series(1, 10);

CREATE TABLE "The Table" (own text DEFAULT 'mine', x integer NOT NULL DEFAULT 7, parent_id integer REFERENCES parent,
    other numeric(8, 2),
    CONSTRAINT "both" CHECK (x > -5), CONSTRAINT own CHECK (x < 100000) NO INHERIT) INHERITS ("a.b"."the ""parent""", second);
ALTER TABLE "a.b"."the ""parent""" DROP COLUMN gone;
ALTER TABLE grand ADD COLUMN later short NOT NULL DEFAULT 'later';
ALTER TABLE "The Table" ADD COLUMN last serial;
ALTER TABLE "a.b"."the ""parent""" ADD CONSTRAINT added CHECK (later <> '');
ALTER TABLE "The Table" ADD CONSTRAINT own_id CHECK (id < 1000000);
ALTER TABLE "The Table" INHERIT third;
ALTER TABLE "The Table" ALTER COLUMN id SET NOT NULL, ADD PRIMARY KEY (id);
ALTER TABLE "The Table" ALTER COLUMN "odd "" name" SET DEFAULT 'not as the grandparent';
ALTER TABLE "The Table" ALTER COLUMN from_second DROP DEFAULT, ALTER COLUMN big SET STORAGE EXTERNAL,
    ALTER COLUMN big SET COMPRESSION pglz, ALTER COLUMN big SET STATISTICS 7, ALTER COLUMN x SET (n_distinct = 9);
INSERT INTO "The Table" (id, x, big, parent_id) SELECT i, i, 'big ' || i, 1 + i % 10 FROM generate_series(1, 300) i;
INSERT INTO "a.b"."the ""parent""" (id, x) SELECT i, i - 400 FROM generate_series(400, 420) i;
INSERT INTO grand (id) VALUES (1000);
CREATE INDEX by_x ON "The Table" (x DESC, id);
CREATE FUNCTION on_change() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
CREATE TRIGGER only_here BEFORE INSERT ON "The Table" FOR EACH ROW EXECUTE FUNCTION on_change();
CREATE TABLE child (id integer REFERENCES "The Table");
INSERT INTO child VALUES (1), (4);
CREATE VIEW "of it" AS SELECT id, x FROM "The Table";
CREATE VIEW "of all" AS SELECT g.id, t.x FROM grand g JOIN "The Table" t USING (id);
CREATE MATERIALIZED VIEW through AS SELECT count(*) FROM grand;
COMMENT ON TABLE "The Table" IS 'an heir';
COMMENT ON COLUMN "The Table".big IS 'inherited';
COMMENT ON CONSTRAINT "both" ON "The Table" IS 'of three';
COMMENT ON CONSTRAINT added ON "The Table" IS 'inherited';
GRANT SELECT ON "The Table" TO upshift_carry_reader;
GRANT UPDATE (later) ON "The Table" TO upshift_carry_reader;
GRANT ALL ON SCHEMA "a.b", public TO upshift_carry_group;
ALTER TABLE second OWNER TO upshift_carry_group;
