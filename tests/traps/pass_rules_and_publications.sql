-- columns that rules and publications name get other names in a pass, and rules are made around it
CREATE TABLE "The ""Log""" (id integer, what text);
CREATE TABLE t (id serial PRIMARY KEY, a integer, "b. c" text, gone integer);
INSERT INTO t (a, "b. c") SELECT i % 7, 'row ' || i FROM generate_series(1, 60) AS i;
CREATE RULE on_insert AS ON INSERT TO t WHERE new.a > 3
    DO ALSO INSERT INTO "The ""Log""" VALUES (new.id, new."b. c");
CREATE RULE on_log AS ON INSERT TO "The ""Log""" WHERE new.id < 0
    DO ALSO UPDATE t SET a = a + 1 WHERE t."b. c" = new.what;
CREATE PUBLICATION p FOR TABLE t;
DO $$BEGIN
    IF current_setting('server_version_num')::integer >= 150000 THEN
        EXECUTE 'CREATE PUBLICATION q FOR TABLE t (id, "b. c") WHERE (a > 2 AND id > 0) WITH (publish = ''insert'')';
    END IF;
END$$;
-- upgrade
UPDATE t SET a = a * 2;
ALTER TABLE t RENAME COLUMN a TO "a ""renamed""";
CREATE RULE later AS ON DELETE TO "The ""Log""" DO ALSO UPDATE t SET gone = 1 WHERE id = old.id;
ALTER TABLE t ADD COLUMN fresh integer DEFAULT 5;
UPDATE t SET fresh = "a ""renamed""" + 1, "b. c" = upper("b. c") WHERE id > 10;
ALTER TABLE t RENAME COLUMN "b. c" TO b;
UPDATE t SET b = b || '!';
ALTER TABLE "The ""Log""" RENAME COLUMN what TO "what else";
