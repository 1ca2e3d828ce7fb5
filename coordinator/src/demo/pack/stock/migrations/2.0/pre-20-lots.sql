DROP TABLE stock_lot_legacy;
ALTER TABLE stock_quant RENAME COLUMN reserved_quantity TO quantity_reserved;
UPDATE stock_quant SET quantity = 0 WHERE quantity IS NULL;
ALTER TABLE stock_quant ALTER COLUMN quantity SET NOT NULL;
