ALTER TABLE crm_team ADD COLUMN alias_name varchar;
UPDATE crm_team SET alias_name = lower(replace(name, ' ', '-'));
-- upshift: label = "orders without a team go to the first of their company"
UPDATE sale_order AS o
   SET team_id = (SELECT min(t.id) FROM crm_team AS t WHERE t.company_id = o.company_id)
 WHERE o.team_id IS NULL;
