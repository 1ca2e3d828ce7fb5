UPDATE account_analytic_account SET code = 'A' || lpad(id::text, 4, '0') WHERE code IS NULL;

UPDATE account_analytic_line AS l
   SET amount = round(l.amount, 2)
 WHERE l.amount <> round(l.amount, 2);
