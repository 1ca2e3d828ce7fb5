ALTER TABLE sale_order_line ADD COLUMN technical_price_unit double precision;
UPDATE sale_order_line SET technical_price_unit = price_unit WHERE display_type IS NULL;

ALTER TABLE sale_order_line ADD COLUMN order_date timestamp without time zone;
UPDATE sale_order_line AS sol
   SET order_date = so.date_order, state = so.state
  FROM sale_order AS so
 WHERE so.id = sol.order_id;

ALTER TABLE sale_order_line
  ALTER COLUMN price_tax TYPE numeric USING round(price_tax::numeric, 2);

ALTER TABLE sale_order_line DROP COLUMN price_reduce_taxexcl;
ALTER TABLE sale_order_line DROP COLUMN price_reduce_taxinc;

-- The relation of orders and tags under the name that Odoo gives such tables by itself.
ALTER TABLE sale_order_tag_rel RENAME TO crm_tag_sale_order_rel;
ALTER TABLE crm_tag_sale_order_rel RENAME COLUMN tag_id TO crm_tag_id;
ALTER TABLE crm_tag_sale_order_rel RENAME COLUMN order_id TO sale_order_id;

ALTER TABLE sale_order ALTER COLUMN prepayment_percent SET DEFAULT 1.0;
