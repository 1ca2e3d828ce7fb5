UPDATE account_move_line SET discount = NULL WHERE discount = 0;
ALTER TABLE account_move_line DROP COLUMN blocked;
ALTER TABLE account_move_line ADD COLUMN discount_amount numeric NOT NULL DEFAULT 0;
UPDATE account_move_line SET discount_amount = round(price_unit * quantity * discount / 100, 2) WHERE discount IS NOT NULL;
ALTER TABLE account_tax ALTER COLUMN name TYPE varchar(64);
