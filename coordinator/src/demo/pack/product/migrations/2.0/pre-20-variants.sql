ALTER TABLE product_product ADD COLUMN lst_price numeric;
UPDATE product_product AS p SET lst_price = t.list_price FROM product_template AS t WHERE t.id = p.product_tmpl_id;
-- upshift: label = "packagings of the version before last"
DROP TABLE product_packaging_old;
