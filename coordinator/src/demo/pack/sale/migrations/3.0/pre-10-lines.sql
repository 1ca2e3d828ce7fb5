ALTER TABLE sale_order_line DROP COLUMN product_packaging_qty;
UPDATE sale_order_line
   SET discount = 0, price_unit = round(price_unit * (1 - discount / 100), 2)
 WHERE discount > 0;
ALTER TABLE sale_order ALTER COLUMN name TYPE text;
ALTER TABLE sale_order ADD CONSTRAINT sale_order_name_uniq UNIQUE (name);
DROP INDEX sale_order_date_order_idx;
CREATE INDEX sale_order_date_idx ON sale_order (company_id, date_order DESC);
