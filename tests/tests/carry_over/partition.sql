-- a partition, with what it shares with its parent and what it has alone; the roles are there already
CREATE SCHEMA "a.b";
CREATE TABLE "a.b"."the ""parent""" (
    id integer NOT NULL,
    x integer,
    part text NOT NULL DEFAULT 'p',
    parent_id integer,
    CONSTRAINT "odd. check" CHECK (id > 0),
    CONSTRAINT "odd "" key" PRIMARY KEY (id, part)
) PARTITION BY LIST (part);
CREATE INDEX "by. x" ON "a.b"."the ""parent""" (x);
CREATE INDEX ON "a.b"."the ""parent""" (lower(part), x) WHERE x > 3;
CREATE TABLE parent (id integer PRIMARY KEY);
INSERT INTO parent SELECT generate_series(1, 10);

CREATE TABLE "The Table" PARTITION OF "a.b"."the ""parent""" (
    x DEFAULT 7, CONSTRAINT own CHECK (x < 100000)
) FOR VALUES IN ('it''s', 'other', NULL);
CREATE TABLE "a.b"."The Table" PARTITION OF "a.b"."the ""parent""" FOR VALUES IN ('p');
INSERT INTO "a.b"."the ""parent""" (id, x, part, parent_id)
SELECT i, i, CASE i % 3 WHEN 0 THEN 'it''s' WHEN 1 THEN 'other' ELSE 'p' END, 1 + i % 10
FROM generate_series(1, 300) i;
CREATE INDEX only_here ON "The Table" (x DESC, id);
ALTER TABLE "The Table" ADD CONSTRAINT alone FOREIGN KEY (parent_id) REFERENCES parent;
CREATE TABLE child (id integer, part text DEFAULT 'other', FOREIGN KEY (id, part) REFERENCES "The Table");
INSERT INTO child VALUES (1), (4);
CREATE FUNCTION on_change() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
CREATE TRIGGER only_here BEFORE INSERT ON "The Table" FOR EACH ROW EXECUTE FUNCTION on_change();
CREATE VIEW "of the part" AS SELECT id, x FROM "The Table";
CREATE VIEW "of all" AS SELECT p.id, t.x FROM "a.b"."the ""parent""" p JOIN "The Table" t USING (id);
CREATE MATERIALIZED VIEW through AS SELECT count(*) FROM "a.b"."the ""parent""";
COMMENT ON TABLE "The Table" IS 'a part';
COMMENT ON COLUMN "The Table".x IS 'of a part';
COMMENT ON INDEX "The Table_x_idx" IS 'attached';
ALTER TABLE "The Table" ALTER COLUMN x SET STATISTICS 9;
GRANT SELECT ON "The Table" TO upshift_carry_reader;
CREATE PUBLICATION of_all FOR TABLE "a.b"."the ""parent""";
CREATE PUBLICATION of_part FOR TABLE "The Table";
GRANT ALL ON SCHEMA "a.b", public TO upshift_carry_group;
ALTER TABLE "a.b"."the ""parent""" OWNER TO upshift_carry_group;
