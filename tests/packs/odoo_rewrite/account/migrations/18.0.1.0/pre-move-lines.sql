ALTER TABLE account_move_line ADD COLUMN move_type character varying;

UPDATE account_move_line AS aml
   SET move_type = am.move_type, parent_state = am.state, date = am.date
  FROM account_move AS am
 WHERE am.id = aml.move_id;
