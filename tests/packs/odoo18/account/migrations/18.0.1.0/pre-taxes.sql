ALTER TABLE account_tax ADD COLUMN price_include_override character varying;
UPDATE account_tax
   SET price_include_override = CASE WHEN price_include THEN 'tax_included' ELSE 'tax_excluded' END;
ALTER TABLE account_tax DROP COLUMN price_include;
