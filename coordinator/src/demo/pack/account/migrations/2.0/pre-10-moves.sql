ALTER TABLE account_move ADD COLUMN checked boolean;
UPDATE account_move SET checked = (to_check IS NOT TRUE);
ALTER TABLE account_move ADD COLUMN made_sequence_gap boolean;
-- upshift: label = "numbers without a predecessor in their journal"
UPDATE account_move AS m
   SET made_sequence_gap = true
  FROM account_move AS self
  LEFT JOIN account_move AS previous
    ON previous.journal_id = self.journal_id
   AND previous.sequence_prefix = self.sequence_prefix
   AND previous.sequence_number = self.sequence_number - 1
 WHERE m.id = self.id AND previous.id IS NULL AND self.sequence_number > 1;
ALTER TABLE account_move ADD COLUMN commercial_partner_id integer;
UPDATE account_move AS m
   SET commercial_partner_id = p.commercial_partner_id
  FROM res_partner AS p
 WHERE p.id = m.partner_id;
