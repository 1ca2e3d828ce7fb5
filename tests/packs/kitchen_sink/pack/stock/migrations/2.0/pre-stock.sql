SET search_path = "other schema", public;
UPDATE stock_level SET level = level + 1 WHERE product % 2 = 0;
ALTER TABLE stock_level RENAME COLUMN level TO quantity;
ALTER TABLE stock_level ADD COLUMN reserved integer;
UPDATE stock_level SET reserved = least(quantity, product % 10);
ALTER TABLE stock_level SET SCHEMA public;
CREATE SEQUENCE public.stock_seq OWNED BY public.stock_level.reserved;
