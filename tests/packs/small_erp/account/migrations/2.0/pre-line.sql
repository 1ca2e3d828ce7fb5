DROP VIEW open_line;

ALTER TABLE line ADD COLUMN move_date date;
ALTER TABLE line ADD COLUMN amount numeric;

UPDATE line AS l
   SET state = m.state, partner_id = m.partner_id, move_date = m.date
  FROM move AS m
 WHERE m.id = l.move_id;

UPDATE line SET amount = round(quantity::numeric * price, 2) WHERE state = 'posted';

ALTER TABLE line ALTER COLUMN note TYPE varchar(10) USING substr(note, 1, 10);

ALTER TABLE line DROP COLUMN obsolete;

DELETE FROM line WHERE quantity = 0;

ALTER TABLE line ALTER COLUMN move_date SET NOT NULL;
ALTER TABLE line ADD CONSTRAINT line_amount_check CHECK (amount IS NULL OR amount >= 0);
