-- Nobody has had a fax for years.
ALTER TABLE res_partner DROP COLUMN fax;
-- upshift: label = "credit limits in cents instead of floating point"
ALTER TABLE res_partner ALTER COLUMN credit_limit TYPE numeric(16, 2);
ALTER TABLE res_partner ALTER COLUMN lang SET DEFAULT 'en_US';
ALTER TABLE res_partner RENAME CONSTRAINT res_partner_check_name TO res_partner_company_has_name;
