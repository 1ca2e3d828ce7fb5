ALTER TABLE account_move_line VALIDATE CONSTRAINT account_move_line_check_journal_type;

-- upshift: label = "what each journal looked like before, for the accountant"
CREATE TABLE openupgrade_legacy_18_0_journal_totals AS
SELECT l.journal_id, l.journal_type, count(*) AS lines, sum(l.debit) AS debit, sum(l.credit) AS credit
  FROM account_move_line AS l
 GROUP BY l.journal_id, l.journal_type;
