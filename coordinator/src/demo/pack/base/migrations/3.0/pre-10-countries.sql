ALTER TABLE res_country RENAME COLUMN code TO iso_code;
ALTER TABLE res_country ADD COLUMN phone_code integer;
UPDATE res_country SET phone_code = 100 + id WHERE phone_code IS NULL;
COMMENT ON COLUMN res_country.iso_code IS 'ISO 3166-1 alpha-2';
