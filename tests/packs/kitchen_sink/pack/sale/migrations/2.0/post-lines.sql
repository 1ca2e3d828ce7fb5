ALTER TABLE move_line ADD COLUMN total numeric;
UPDATE move_line SET total = quantity * price, note = COALESCE(note, 'none') WHERE quantity > 0;
DELETE FROM move_line WHERE quantity = 0;
CREATE TABLE move_summary (id bigserial PRIMARY KEY, journal_code text NOT NULL, lines bigint, total numeric);
INSERT INTO move_summary (journal_code, lines, total)
SELECT m.journal_code, count(*), sum(l.total) FROM move m JOIN move_line l ON l.move_id = m.id GROUP BY 1 ORDER BY 1;
CREATE TABLE move_copy AS SELECT id, journal_code, day FROM move WHERE gap;
CREATE TABLE move_day (move_id bigint PRIMARY KEY, day date, rounded numeric);
INSERT INTO move_day (move_id, day, rounded) SELECT m.id, m.day, round(m.amount) FROM move m WHERE m.amount IS NOT NULL;
DELETE FROM move WHERE state = 'refund' AND number % 50 = 1;
SELECT setval('document_number', 5000);
