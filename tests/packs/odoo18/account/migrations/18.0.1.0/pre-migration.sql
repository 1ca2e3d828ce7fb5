ALTER TABLE account_move RENAME COLUMN payment_id TO origin_payment_id;
ALTER INDEX account_move__payment_id_index RENAME TO account_move__origin_payment_id_index;
ALTER TABLE account_move RENAME CONSTRAINT account_move_payment_id_fkey TO account_move_origin_payment_id_fkey;

ALTER TABLE account_move ADD COLUMN checked boolean;
UPDATE account_move SET checked = (state = 'posted' AND to_check IS NOT TRUE);
DROP INDEX account_move_to_check_idx;
ALTER TABLE account_move DROP COLUMN to_check;
CREATE INDEX account_move_checked_idx ON account_move (journal_id) WHERE checked IS FALSE;

ALTER TABLE account_move ADD COLUMN amount_untaxed_in_currency_signed numeric;
UPDATE account_move
   SET amount_untaxed_in_currency_signed =
       CASE WHEN move_type IN ('out_invoice', 'in_refund', 'out_receipt') THEN amount_untaxed
            WHEN move_type IN ('in_invoice', 'out_refund', 'in_receipt') THEN -amount_untaxed
            ELSE 0 END;

-- The previous number of the same journal: columns that nobody writes.
ALTER TABLE account_move ADD COLUMN made_sequence_gap boolean;
UPDATE account_move AS this
   SET made_sequence_gap = (prev.id IS NULL AND other.sequence_number > 1)
  FROM account_move AS other
  LEFT JOIN account_move AS prev
    ON prev.journal_id = other.journal_id
   AND prev.sequence_prefix = other.sequence_prefix
   AND prev.sequence_number = other.sequence_number - 1
 WHERE other.id = this.id;

ALTER TABLE account_move_line ADD COLUMN move_type character varying;
ALTER TABLE account_move_line ADD COLUMN journal_type character varying;

UPDATE account_move_line AS l
   SET move_type = m.move_type, parent_state = m.state
  FROM account_move AS m
 WHERE m.id = l.move_id;

UPDATE account_move_line AS l
   SET journal_type = j.type
  FROM account_move_line AS l2
  JOIN account_move AS m ON m.id = l2.move_id
  LEFT JOIN account_journal AS j ON j.id = m.journal_id
 WHERE l2.id = l.id;

ALTER TABLE account_move_line RENAME COLUMN blocked TO no_followup;
ALTER TABLE account_move_line ALTER COLUMN ref TYPE text;
ALTER TABLE account_move_line
  ALTER COLUMN discount TYPE numeric(16, 1) USING round(discount, 1)::numeric(16, 1);

ALTER TABLE account_move_line
  ADD CONSTRAINT account_move_line_check_journal_type
  CHECK (journal_type IS NULL OR journal_type IN ('sale', 'purchase', 'cash', 'bank', 'general')) NOT VALID;
