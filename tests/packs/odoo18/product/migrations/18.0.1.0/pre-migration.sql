-- Reports that read the columns below; the application makes them anew.
DROP VIEW IF EXISTS vendor_delay_report;
DROP VIEW IF EXISTS report_stock_quantity;

ALTER TABLE product_template ADD COLUMN is_storable boolean;

UPDATE product_template SET is_storable = TRUE WHERE detailed_type = 'product';

UPDATE product_template
   SET type = CASE WHEN detailed_type = 'product' THEN 'consu' ELSE detailed_type END;

ALTER TABLE product_template DROP COLUMN detailed_type;

-- Translated plain text becomes translated HTML.
UPDATE product_template
   SET description_sale = (SELECT jsonb_object_agg(t.key, '<p>' || t.value || '</p>')
                             FROM jsonb_each_text(product_template.description_sale) AS t)
 WHERE description_sale IS NOT NULL;

ALTER TABLE product_category
  ALTER COLUMN name TYPE jsonb USING jsonb_build_object('en_US', name);

-- Values per company move out of ir_property into a column of their own.
ALTER TABLE product_product ADD COLUMN standard_price jsonb;

-- upshift: label = "standard_price per company, out of ir_property"
UPDATE product_product AS p
   SET standard_price = ip.value
  FROM (SELECT split_part(res_id, ',', 2)::integer AS product_id,
               jsonb_object_agg(company_id::text, value_float ORDER BY company_id) AS value
          FROM ir_property
         WHERE name = 'standard_price' AND res_id LIKE 'product.product,%' AND company_id IS NOT NULL
         GROUP BY split_part(res_id, ',', 2)) AS ip
 WHERE ip.product_id = p.id;

UPDATE product_template SET priority = '0' WHERE priority IS NULL;
ALTER TABLE product_template ALTER COLUMN priority SET NOT NULL;
ALTER TABLE product_template ALTER COLUMN priority SET DEFAULT '0';
