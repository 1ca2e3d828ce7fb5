ALTER TABLE sale_order_line ADD COLUMN product_template_id integer, ADD COLUMN technical_price_unit numeric;
UPDATE sale_order_line AS l
   SET product_template_id = p.product_tmpl_id
  FROM product_product AS p
 WHERE p.id = l.product_id;
UPDATE sale_order_line SET technical_price_unit = price_unit;
CREATE INDEX sale_order_line_product_template_id_idx ON sale_order_line (product_template_id);
