-- upshift: label = "one parameter for each company, in the order of companies"
INSERT INTO ir_config_parameter (key, value, create_uid, write_uid, create_date, write_date)
SELECT 'base.company_' || c.id || '.upgraded_from', '17.0', 1, 1, c.create_date, c.create_date
  FROM res_company AS c
 ORDER BY c.id;

UPDATE res_partner SET tz = 'UTC', lang = COALESCE(lang, 'en_US') WHERE tz IS NULL;

-- XML ids of a model that is gone.
DELETE FROM ir_model_data AS imd
 USING ir_model_fields AS f
 WHERE imd.model = 'ir.model.fields' AND f.id = imd.res_id AND f.model = 'mail.message.schedule';
