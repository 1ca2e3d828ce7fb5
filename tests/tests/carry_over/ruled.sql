-- a table with rules and in publications, rules of other relations that mention it, and a materialized
-- view that reads it through a view; the roles are there already
CREATE SCHEMA "a.b";
CREATE TABLE "a.b"."the ""log""" (id serial PRIMARY KEY, "what. happened" text, x integer);
CREATE TABLE "The Table" (
    id serial PRIMARY KEY,
    x integer,
    "odd "" column" text NOT NULL DEFAULT 'it''s',
    flag boolean
);
INSERT INTO "The Table" (x) SELECT i FROM generate_series(1, 300) i;
INSERT INTO "a.b"."the ""log""" (x) VALUES (1);

-- its rules
CREATE RULE "a ""rule"".1" AS ON INSERT TO "The Table" WHERE new.x > 7 DO ALSO (
    INSERT INTO "a.b"."the ""log""" ("what. happened", x) VALUES (new."odd "" column", new.x);
    UPDATE "The Table" SET flag = true WHERE x = new.x;
);
CREATE RULE tell AS ON INSERT TO "The Table" DO ALSO NOTIFY "some channel";
CREATE RULE spared AS ON DELETE TO "The Table"
    WHERE old.x IN (SELECT t.x FROM "The Table" t WHERE t.x < 0) DO INSTEAD NOTHING;
CREATE RULE off AS ON DELETE TO "The Table" DO ALSO SELECT 1;
CREATE RULE replicated AS ON DELETE TO "The Table" DO ALSO SELECT 2;
CREATE RULE always AS ON DELETE TO "The Table" DO ALSO SELECT 3;
ALTER TABLE "The Table" DISABLE RULE off;
ALTER TABLE "The Table" ENABLE REPLICA RULE replicated;
ALTER TABLE "The Table" ENABLE ALWAYS RULE always;
COMMENT ON RULE "a ""rule"".1" ON "The Table" IS 'it''s the first';

-- rules of others
CREATE RULE "of ""others""" AS ON INSERT TO "a.b"."the ""log""" WHERE new.x > 1000
    DO ALSO UPDATE "The Table" t SET flag = false FROM "The Table" u WHERE t.id = u.x AND u.id = new.x;
CREATE RULE "of others, off" AS ON DELETE TO "a.b"."the ""log""" DO ALSO DELETE FROM "The Table" WHERE x = old.x;
ALTER TABLE "a.b"."the ""log""" DISABLE RULE "of others, off";
COMMENT ON RULE "of others, off" ON "a.b"."the ""log""" IS 'not now';
CREATE VIEW "a view" AS SELECT id, x, "odd "" column" FROM "The Table";
CREATE RULE "through the view" AS ON INSERT TO "a view" DO INSTEAD
    INSERT INTO "The Table" (x, "odd "" column") VALUES (new.x, new."odd "" column")
    RETURNING id, x, "odd "" column";
GRANT ALL ON SCHEMA public, "a.b" TO upshift_carry_group;
CREATE TABLE theirs (x integer);
CREATE RULE "of theirs" AS ON UPDATE TO theirs DO ALSO SELECT count(*) FROM "The Table";
ALTER TABLE theirs OWNER TO upshift_carry_group;

-- through a view, with rows that are no longer those of the table
CREATE MATERIALIZED VIEW "seen before" WITH (fillfactor = 70) AS
    SELECT x % 10 AS "x. y", count(*) AS many, sum(x) AS sum FROM "a view" GROUP BY 1;
CREATE UNIQUE INDEX "one a row" ON "seen before" ("x. y");
ALTER MATERIALIZED VIEW "seen before" CLUSTER ON "one a row";
ALTER MATERIALIZED VIEW "seen before" ALTER COLUMN many SET STATISTICS 7;
COMMENT ON MATERIALIZED VIEW "seen before" IS 'what was';
GRANT SELECT ON "seen before" TO upshift_carry_reader;
ALTER MATERIALIZED VIEW "seen before" OWNER TO upshift_carry_group;
CREATE MATERIALIZED VIEW empty AS SELECT x FROM "a view" WITH NO DATA;
UPDATE "The Table" SET x = x + 3;

-- publications
CREATE PUBLICATION "p. one" FOR TABLE "The Table", "a.b"."the ""log""" WITH (publish = 'insert, delete');
COMMENT ON PUBLICATION "p. one" IS 'to somebody';
CREATE PUBLICATION theirs FOR TABLE ONLY "The Table";
DO $$BEGIN
    EXECUTE format('GRANT CREATE ON DATABASE %I TO upshift_carry_group', current_database());
    IF current_setting('server_version_num')::integer >= 150000 THEN
        EXECUTE 'CREATE PUBLICATION "p ""two""" FOR TABLE "The Table" ("odd "" column", id)';
        EXECUTE 'CREATE PUBLICATION three FOR TABLE "The Table"
                     WHERE (x > 3 AND "odd "" column" <> ''it''''s'') WITH (publish = ''insert'')';
        EXECUTE 'CREATE PUBLICATION four FOR TABLE "The Table" (id, x) WHERE (true)';
    END IF;
END$$;
ALTER PUBLICATION theirs OWNER TO upshift_carry_group;
