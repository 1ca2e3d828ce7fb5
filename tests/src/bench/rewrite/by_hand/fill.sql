-- One of the two halves of the old table, by pages; the three UPDATEs in one expression each.
INSERT INTO account_move_line_new (id, move_id, company_id, journal_id, account_id, partner_id, product_id, name,
       ref, move_type, parent_state, display_type, date, date_maturity, debit, credit, balance, amount_currency,
       amount_residual, reconciled, narration, create_date, write_date)
SELECT l.id, l.move_id, l.company_id, l.journal_id, l.account_id, l.partner_id, l.product_id, l.name,
       l.ref, m.move_type, m.state, l.display_type, l.date, COALESCE(l.date_maturity, l.date), l.debit, l.credit,
       l.debit - l.credit, CASE WHEN m.state = 'cancel' THEN 0 ELSE l.debit - l.credit END,
       CASE WHEN l.reconciled THEN 0 ELSE l.debit - l.credit END, l.reconciled, l.narration, l.create_date,
       l.write_date
  FROM account_move_line AS l
  JOIN account_move AS m ON m.id = l.move_id
 WHERE l.ctid >= '({from},0)' AND l.ctid < '({to},0)';
