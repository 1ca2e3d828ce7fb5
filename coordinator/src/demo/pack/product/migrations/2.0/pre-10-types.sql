ALTER TABLE product_template ADD COLUMN is_storable boolean;
UPDATE product_template SET is_storable = (type = 'product');
UPDATE product_template SET type = 'consu' WHERE type = 'product';
ALTER TABLE product_template ADD CONSTRAINT product_template_type_check CHECK (type IN ('consu', 'service', 'combo'));
