UPDATE line SET price = round(price, 4);

CREATE INDEX CONCURRENTLY line_partner_id_idx ON line (partner_id);

ALTER TABLE partner ALTER COLUMN name SET DEFAULT 'unnamed';
