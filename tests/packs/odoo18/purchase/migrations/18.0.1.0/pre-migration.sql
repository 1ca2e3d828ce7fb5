ALTER TABLE purchase_order_line ADD COLUMN technical_price_unit double precision;
UPDATE purchase_order_line SET technical_price_unit = price_unit WHERE display_type IS NULL;

UPDATE purchase_order_line AS pol
   SET partner_id = po.partner_id, date_planned = COALESCE(pol.date_planned, po.date_planned, po.date_order)
  FROM purchase_order AS po
 WHERE po.id = pol.order_id;

ALTER TABLE purchase_order_line
  ALTER COLUMN price_tax TYPE numeric USING round(price_tax::numeric, 2);

ALTER TABLE purchase_order ADD COLUMN locked boolean;
-- upshift: undo = "UPDATE purchase_order SET locked = NULL"
UPDATE purchase_order SET locked = (state = 'done');

ALTER TABLE purchase_order_line
  ADD CONSTRAINT purchase_order_line_positive_discount CHECK (discount IS NULL OR discount <= 100);
