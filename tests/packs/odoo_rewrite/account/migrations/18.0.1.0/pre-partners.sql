ALTER TABLE res_partner ADD COLUMN autopost_bills character varying;

-- Bills of whoever is a supplier are asked about.
UPDATE res_partner
   SET autopost_bills = CASE WHEN supplier_rank > 0 THEN 'ask' ELSE 'never' END,
       customer_rank = COALESCE(customer_rank, 0), supplier_rank = COALESCE(supplier_rank, 0);
