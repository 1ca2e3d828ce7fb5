-- expect: refused: undo
CREATE TABLE t (id serial PRIMARY KEY, a integer, b text, c numeric(8, 2));
INSERT INTO t (a, b, c) SELECT i % 7, CASE WHEN i % 5 > 0 THEN 'row ' || i END, i * 1.25 FROM generate_series(1, 40) AS i;
CREATE TABLE audit (id serial PRIMARY KEY, what text);
CREATE FUNCTION log_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit (what) VALUES (TG_OP || coalesce(NEW.id, OLD.id)); RETURN coalesce(NEW, OLD); END $$;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.c := NEW.c + 1; RETURN NEW; END $$;
CREATE TRIGGER t_touch BEFORE UPDATE OF a ON t FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER t_log AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION log_change();
-- upgrade
-- upshift: chunk = none
UPDATE t SET a = a + 1 WHERE id = 7;
DELETE FROM t WHERE id = 8;
INSERT INTO t (a) VALUES (5);
ALTER TABLE t DISABLE TRIGGER t_log;
UPDATE t SET a = a + 1;
ALTER TABLE t ENABLE TRIGGER t_log;
DROP TRIGGER t_touch ON t;
UPDATE t SET b = 'once' WHERE id = 9;
DROP TRIGGER t_log ON t;
UPDATE t SET b = 'twice';
