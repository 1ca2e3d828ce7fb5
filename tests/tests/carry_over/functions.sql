-- functions and procedures that have the row type in their signature, or mention the table in an SQL
-- body; the roles are there already
CREATE SCHEMA "a.b";
CREATE TABLE "The Table" (id serial PRIMARY KEY, x integer, "odd "" column" text DEFAULT 'it''s');
INSERT INTO "The Table" (x) SELECT i FROM generate_series(1, 300) i;
CREATE TABLE other (id integer);

CREATE FUNCTION "a.b"."a ""function"".1"(r "The Table", "an "" argument" integer DEFAULT 3)
    RETURNS integer LANGUAGE sql STABLE COST 17 PARALLEL SAFE SET search_path TO 'public', "a.b"
    AS $$SELECT r.x + "an "" argument"$$;
COMMENT ON FUNCTION "a.b"."a ""function"".1" IS 'it''s a function';
REVOKE ALL ON FUNCTION "a.b"."a ""function"".1" FROM PUBLIC;
GRANT EXECUTE ON FUNCTION "a.b"."a ""function"".1" TO upshift_carry_reader WITH GRANT OPTION;
GRANT EXECUTE ON FUNCTION "a.b"."a ""function"".1" TO upshift_carry_group;
CREATE FUNCTION rows() RETURNS SETOF "The Table" LANGUAGE sql ROWS 7
    AS 'SELECT * FROM "The Table"';
CREATE FUNCTION many(VARIADIC rs "The Table"[]) RETURNS "The Table" LANGUAGE plpgsql SECURITY DEFINER
    AS $$DECLARE r "The Table"; BEGIN RETURN rs[1]; END$$;
CREATE FUNCTION "not mentioned"(OUT r "The Table", INOUT n bigint) LANGUAGE plpgsql STRICT
    AS $$BEGIN SELECT * INTO r FROM "The Table" t LIMIT 1; END$$;
CREATE FUNCTION columns_of() RETURNS TABLE (n integer, r "The Table") LANGUAGE sql
    AS 'SELECT x, t FROM "The Table" t';
CREATE PROCEDURE proceed(INOUT r "The Table") LANGUAGE plpgsql AS $$BEGIN r.x := 1; END$$;
COMMENT ON PROCEDURE proceed IS 'goes on';
REVOKE ALL ON FUNCTION rows() FROM PUBLIC, upshift_test_owner;

-- one with SQL bodies: of the row type, and not
CREATE FUNCTION typed_body(r "The Table") RETURNS bigint LANGUAGE sql
    BEGIN ATOMIC SELECT count(*) FROM "The Table" t WHERE t.x < r.x; END;
CREATE FUNCTION counted("at least" integer) RETURNS bigint LANGUAGE sql STABLE
    BEGIN ATOMIC SELECT count(*) FROM "The Table" WHERE "odd "" column" = 'it''s' AND x > "at least"; END;
COMMENT ON FUNCTION counted IS 'how many';
GRANT EXECUTE ON FUNCTION counted TO upshift_carry_reader;
CREATE PROCEDURE "write both"() LANGUAGE sql
    BEGIN ATOMIC
        UPDATE "The Table" SET x = x + 1;
        INSERT INTO other SELECT id FROM "The Table";
    END;
CREATE FUNCTION by_type() RETURNS integer LANGUAGE sql
    BEGIN ATOMIC SELECT (NULL::"The Table").x; END;
-- These are only replaced, so others may use them.
CREATE VIEW counts AS SELECT counted(5) AS n, by_type() AS t;
CREATE TABLE kept (n bigint DEFAULT counted(1));

GRANT ALL ON SCHEMA public, "a.b" TO upshift_carry_group;
CREATE FUNCTION theirs(r "The Table") RETURNS text LANGUAGE sql AS $$SELECT 'x'$$;
REVOKE ALL ON FUNCTION theirs FROM PUBLIC;
ALTER FUNCTION theirs OWNER TO upshift_carry_group;
GRANT EXECUTE ON FUNCTION theirs TO upshift_carry_reader;
CREATE FUNCTION theirs_too() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT max(x) FROM "The Table"; END;
ALTER FUNCTION theirs_too OWNER TO upshift_carry_group;
-- What is made from now on gets these, and the functions must not.
ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO upshift_carry_reader;
