CREATE VIEW contacts_company AS SELECT id, name, city FROM res_partner WHERE is_company;
-- upshift: when = column_exists(res_partner.phone)
CREATE INDEX res_partner_phone_idx ON res_partner (phone);
