ALTER TABLE move ADD COLUMN gap boolean;

UPDATE move AS this
   SET gap = prev.id IS NULL
  FROM move AS other
  LEFT JOIN move AS prev
    ON prev.journal_id = other.journal_id AND prev.prefix = other.prefix AND prev.number = other.number - 3
 WHERE other.id = this.id;

CREATE TABLE move_log (
    id serial PRIMARY KEY,
    move_id integer NOT NULL REFERENCES move (id) ON DELETE CASCADE,
    label varchar NOT NULL
);

-- Draws ids in the order of another column.
INSERT INTO move_log (move_id, label)
SELECT m.id, m.prefix || '/' || m.number
  FROM move AS m
 WHERE m.state = 'draft'
 ORDER BY m.number DESC, m.id;

CREATE TABLE line_archive (id integer PRIMARY KEY, amount numeric, note varchar);

INSERT INTO line_archive (id, amount, note)
SELECT l.id, l.amount, l.note FROM line AS l WHERE l.state = 'posted';

UPDATE journal_note SET text = text || ' (journal ' || journal_id || ')' WHERE journal_id <> 2;

INSERT INTO counter (name, value)
VALUES ('moves', (SELECT count(*) FROM move)), ('logs', (SELECT count(*) FROM move_log))
    ON CONFLICT (name) DO UPDATE SET value = excluded.value;
