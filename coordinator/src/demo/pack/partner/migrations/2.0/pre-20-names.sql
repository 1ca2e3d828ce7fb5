ALTER TABLE res_partner ADD COLUMN complete_name varchar;
-- upshift: label = "complete names, with the company's"
UPDATE res_partner AS p
   SET complete_name = CASE
           WHEN parent.id IS NULL THEN coalesce(self.name, '')
           ELSE coalesce(parent.name, '') || ', ' || coalesce(self.name, 'Contact')
       END
  FROM res_partner AS self
  LEFT JOIN res_partner AS parent ON parent.id = self.parent_id
 WHERE p.id = self.id;
CREATE INDEX res_partner_complete_name_idx ON res_partner (complete_name);
ALTER TABLE res_partner ADD COLUMN email_normalized varchar;
UPDATE res_partner SET email_normalized = lower(trim(email)) WHERE email IS NOT NULL;
