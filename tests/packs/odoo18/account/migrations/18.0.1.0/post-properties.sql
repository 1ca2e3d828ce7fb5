ALTER TABLE res_partner ADD COLUMN property_payment_term_id jsonb;
ALTER TABLE res_partner ADD COLUMN property_supplier_payment_term_id jsonb;

UPDATE res_partner AS p
   SET property_payment_term_id = ip.value
  FROM (SELECT split_part(res_id, ',', 2)::integer AS partner_id,
               jsonb_object_agg(company_id::text, split_part(value_reference, ',', 2)::integer
                                ORDER BY company_id) AS value
          FROM ir_property
         WHERE name = 'property_payment_term_id' AND res_id IS NOT NULL AND company_id IS NOT NULL
         GROUP BY 1) AS ip
 WHERE ip.partner_id = p.id;

UPDATE res_partner AS p
   SET property_supplier_payment_term_id = ip.value
  FROM (SELECT split_part(res_id, ',', 2)::integer AS partner_id,
               jsonb_object_agg(company_id::text, split_part(value_reference, ',', 2)::integer
                                ORDER BY company_id) AS value
          FROM ir_property
         WHERE name = 'property_supplier_payment_term_id' AND res_id IS NOT NULL AND company_id IS NOT NULL
         GROUP BY 1) AS ip
 WHERE ip.partner_id = p.id;

-- upshift: label = "defaults of company-dependent fields, in the order of ir_property"
INSERT INTO ir_default (field_id, company_id, json_value, create_uid, write_uid, create_date, write_date)
SELECT ip.fields_id, ip.company_id, split_part(ip.value_reference, ',', 2), ip.create_uid, ip.write_uid,
       ip.create_date, ip.write_date
  FROM ir_property AS ip
 WHERE ip.res_id IS NULL AND ip.value_reference LIKE 'account.%'
 ORDER BY ip.id;

DELETE FROM ir_property WHERE name LIKE 'property\_%payment\_term\_id';
