ALTER TABLE sale_order ADD COLUMN locked boolean DEFAULT false;
-- "done" was a state and becomes a flag.
UPDATE sale_order SET locked = true WHERE state = 'done';
UPDATE sale_order SET state = 'sale' WHERE state = 'done';
UPDATE sale_order_line SET state = 'sale' WHERE state = 'done';
ALTER TABLE sale_order ADD COLUMN amount_total numeric;
UPDATE sale_order SET amount_total = amount_untaxed + amount_tax;
