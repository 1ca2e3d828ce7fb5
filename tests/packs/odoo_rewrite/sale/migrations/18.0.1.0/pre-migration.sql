ALTER TABLE sale_order_line ADD COLUMN technical_price_unit numeric;

UPDATE sale_order_line
   SET technical_price_unit = price_unit, discount = COALESCE(discount, 0)
 WHERE display_type IS NULL;
