-- expect: refused: the trigger p0_gone on p0 may do anything
CREATE TABLE log (n integer);
CREATE TABLE p (id integer, part integer) PARTITION BY LIST (part);
CREATE TABLE p0 PARTITION OF p FOR VALUES IN (0);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
INSERT INTO p SELECT i, i % 2 FROM generate_series(1, 30) i;
CREATE FUNCTION log_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (OLD.id); RETURN OLD; END $$;
CREATE TRIGGER p0_gone AFTER DELETE ON p0 FOR EACH ROW EXECUTE FUNCTION log_row();
-- upgrade
UPDATE p SET part = 1 WHERE id = 4;
