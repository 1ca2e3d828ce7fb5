-- upshift: label = "payment states have other names now"
UPDATE account_move SET payment_state = 'in_payment' WHERE payment_state = 'paid' AND state = 'posted';
UPDATE account_move SET payment_state = 'not_paid' WHERE state = 'cancel';
ALTER TABLE account_move RENAME COLUMN invoice_origin TO source_document;
ALTER TABLE account_move DROP COLUMN to_check;
