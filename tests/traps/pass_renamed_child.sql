-- a table whose foreign key points at one that a pass builds anew is renamed between the pass's
-- statements, and so is one that the pass's own foreign key points at; their keys are valid again
-- after a rollback, and after the run
CREATE TABLE parent (id integer PRIMARY KEY);
INSERT INTO parent SELECT i FROM generate_series(1, 9) i;
CREATE TABLE t (id serial PRIMARY KEY, parent_id integer REFERENCES parent, note text);
INSERT INTO t (parent_id, note) SELECT 1 + i % 9, 'n' || i FROM generate_series(1, 60) i;
CREATE TABLE child (id serial PRIMARY KEY, t_id integer REFERENCES t ON DELETE SET NULL);
INSERT INTO child (t_id) SELECT 1 + i % 60 FROM generate_series(1, 90) i;

-- upgrade
UPDATE t SET note = upper(note);
ALTER TABLE child RENAME TO moved_child;
ALTER TABLE parent RENAME TO moved_parent;
ALTER TABLE t ADD COLUMN more boolean;
UPDATE t SET more = note > 'N3';
ALTER TABLE t RENAME TO moved_t;
