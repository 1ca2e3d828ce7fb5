-- what triggers of the other event would do while a change is taken back, must not be done: rows deleted
-- come back without INSERT, rows inserted go without DELETE; the same for copies and in partitions
CREATE TABLE audit (id serial PRIMARY KEY, what text);
CREATE FUNCTION log_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit (what) VALUES (TG_RELID::regclass::text || TG_OP || TG_LEVEL); RETURN coalesce(NEW, OLD); END $$;
CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.b := 'spoiled'; RETURN NEW; END $$;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
CREATE TABLE d (id serial PRIMARY KEY, a integer, b text);
INSERT INTO d (a, b) SELECT i % 7, 'row ' || i FROM generate_series(1, 40) AS i;
CREATE TRIGGER d_row BEFORE INSERT ON d FOR EACH ROW EXECUTE FUNCTION spoil();
CREATE TRIGGER d_statement AFTER INSERT ON d FOR EACH STATEMENT EXECUTE FUNCTION log_row();
CREATE CONSTRAINT TRIGGER d_deferred AFTER INSERT ON d DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER d_always AFTER INSERT ON d EXECUTE FUNCTION log_row();
ALTER TABLE d ENABLE ALWAYS TRIGGER d_always;
CREATE TRIGGER d_off AFTER INSERT ON d FOR EACH ROW EXECUTE FUNCTION refuse();
ALTER TABLE d DISABLE TRIGGER d_off;
CREATE TRIGGER d_replica AFTER INSERT ON d FOR EACH ROW EXECUTE FUNCTION refuse();
ALTER TABLE d ENABLE REPLICA TRIGGER d_replica;
CREATE TABLE i (id serial PRIMARY KEY, a integer, b text, up integer REFERENCES i DEFERRABLE INITIALLY DEFERRED);
INSERT INTO i (a, b) SELECT i, 'row ' || i FROM generate_series(1, 3) AS i;
CREATE TRIGGER i_row BEFORE DELETE ON i FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER "i "" statement" AFTER DELETE ON i REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION log_row();
CREATE TABLE u (id serial PRIMARY KEY, a integer, b text);
INSERT INTO u (a, b) SELECT i % 7, 'row ' || i FROM generate_series(1, 40) AS i;
CREATE TRIGGER u_of BEFORE UPDATE OF b ON u FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER u_other AFTER INSERT OR DELETE ON u FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TABLE p (id integer NOT NULL, part integer NOT NULL, b text, PRIMARY KEY (part, id)) PARTITION BY LIST (part);
CREATE TABLE p0 PARTITION OF p FOR VALUES IN (0);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
INSERT INTO p SELECT i, i % 2, 'row ' || i FROM generate_series(1, 30) i;
CREATE TRIGGER p_statement AFTER INSERT ON p FOR EACH STATEMENT EXECUTE FUNCTION log_row();
CREATE TRIGGER p0_alone BEFORE INSERT ON p0 FOR EACH ROW EXECUTE FUNCTION spoil();
DO $$BEGIN
    -- Before, only a superuser can disable what partitions have of it, and there is no way back.
    IF current_setting('server_version_num')::integer >= 150000 THEN
        EXECUTE 'CREATE TRIGGER p_row AFTER INSERT ON p FOR EACH ROW EXECUTE FUNCTION refuse()';
    END IF;
END$$;
CREATE TABLE k (a integer, b text);
INSERT INTO k SELECT i % 7, 'row ' || i FROM generate_series(1, 20) i;
CREATE TRIGGER k_log AFTER INSERT ON k FOR EACH ROW EXECUTE FUNCTION log_row();
-- upgrade
DELETE FROM d WHERE a = 3;
UPDATE d SET a = a + 1;
INSERT INTO i (a, b) SELECT a, b FROM u WHERE a > 3 ORDER BY id;
UPDATE i SET up = id - 1 WHERE id > 1;
UPDATE u SET a = a + 1;
DELETE FROM p WHERE id % 3 = 0;
DELETE FROM p0 WHERE id % 5 = 0;
DELETE FROM k WHERE a = 2;
TRUNCATE k;
