-- expect: refused: the trigger on_twice on t may do anything
CREATE TABLE log (n integer);
CREATE TABLE t (id serial PRIMARY KEY, a integer, twice integer GENERATED ALWAYS AS (a * 2) STORED);
INSERT INTO t (a) SELECT i FROM generate_series(1, 30) i;
CREATE FUNCTION log_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (NEW.twice); RETURN NEW; END $$;
CREATE TRIGGER on_twice AFTER UPDATE OF twice ON t FOR EACH ROW EXECUTE FUNCTION log_row();
-- upgrade
UPDATE t SET a = a + 1;
