-- What an entry says of its lines is stored with them.
UPDATE account_move_line AS l
   SET move_type = m.move_type, parent_state = m.state
  FROM account_move AS m
 WHERE m.id = l.move_id;

UPDATE account_move_line
   SET balance = debit - credit,
       amount_residual = CASE WHEN reconciled THEN 0 ELSE debit - credit END;

-- Sees what the two before it wrote.
UPDATE account_move_line
   SET amount_currency = CASE WHEN parent_state = 'cancel' THEN 0 ELSE balance END,
       date_maturity = COALESCE(date_maturity, date);
