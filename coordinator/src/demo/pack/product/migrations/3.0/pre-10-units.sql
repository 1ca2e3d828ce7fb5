ALTER TABLE uom_uom RENAME TO product_uom;
ALTER TABLE product_uom RENAME COLUMN factor TO relative_factor;
ALTER TABLE product_template ALTER COLUMN volume TYPE numeric USING volume::numeric;
ALTER TABLE product_template ALTER COLUMN weight TYPE numeric USING round(weight::numeric, 3);
