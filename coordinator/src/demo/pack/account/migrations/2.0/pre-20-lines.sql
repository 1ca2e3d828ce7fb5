ALTER TABLE account_move_line ADD COLUMN journal_id integer, ADD COLUMN move_name varchar, ADD COLUMN parent_state varchar;
-- upshift: label = "journal, number and state of the move on each of its lines"
UPDATE account_move_line AS l
   SET journal_id = m.journal_id, move_name = m.name, parent_state = m.state
  FROM account_move AS m
 WHERE m.id = l.move_id;
ALTER TABLE account_move_line ADD COLUMN balance numeric;
UPDATE account_move_line SET balance = debit - credit;
ALTER TABLE account_move_line
    ADD CONSTRAINT account_move_line_journal_id_fkey FOREIGN KEY (journal_id) REFERENCES account_journal ON DELETE RESTRICT;
CREATE INDEX account_move_line_journal_id_idx ON account_move_line (journal_id, date);
ALTER TABLE account_move_line ALTER COLUMN parent_state SET NOT NULL;
