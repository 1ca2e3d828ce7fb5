ALTER TABLE account_move ADD COLUMN amount_untaxed_in_currency_signed numeric;
ALTER TABLE account_move ADD COLUMN checked boolean;
ALTER TABLE account_move ADD COLUMN made_sequence_gap boolean DEFAULT TRUE;

UPDATE account_move
   SET amount_untaxed_in_currency_signed =
       CASE WHEN move_type IN ('out_invoice', 'in_refund', 'out_receipt') THEN amount_untaxed
            WHEN move_type IN ('in_invoice', 'out_refund', 'in_receipt') THEN -amount_untaxed
            ELSE 0 END;

-- Entries of bank and cash journals were checked when they were reconciled.
UPDATE account_move AS am
   SET checked = am.state = 'posted'
                 AND (am.to_check IS NOT TRUE OR aj.type IN ('bank', 'cash'))
  FROM account_journal AS aj
 WHERE aj.id = am.journal_id;

-- There is no gap before an entry whose predecessor in the journal exists.
UPDATE account_move AS this
   SET made_sequence_gap = FALSE
  FROM account_move AS previous
 WHERE previous.journal_id = this.journal_id
   AND previous.sequence_prefix = this.sequence_prefix
   AND previous.sequence_number + 1 = this.sequence_number;
