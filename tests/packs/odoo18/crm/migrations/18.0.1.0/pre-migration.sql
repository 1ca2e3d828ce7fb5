ALTER TABLE crm_lead ADD COLUMN won_status character varying;

UPDATE crm_lead AS l
   SET won_status = CASE WHEN s.is_won AND l.probability = 100 THEN 'won'
                         WHEN l.active IS FALSE AND l.probability = 0 THEN 'lost'
                         ELSE 'pending' END
  FROM crm_stage AS s
 WHERE s.id = l.stage_id;

UPDATE crm_lead SET phone = COALESCE(mobile, phone) WHERE COALESCE(mobile, phone) IS NOT NULL;
DROP INDEX crm_lead_mobile_partial_tgm;
ALTER TABLE crm_lead DROP COLUMN mobile;

ALTER TABLE crm_tag_rel RENAME TO crm_lead_crm_tag_rel;
ALTER TABLE crm_lead_crm_tag_rel RENAME COLUMN lead_id TO crm_lead_id;
ALTER TABLE crm_lead_crm_tag_rel RENAME COLUMN tag_id TO crm_tag_id;

ALTER TABLE crm_lead ALTER COLUMN day_open TYPE numeric USING round(day_open::numeric, 0);

COMMENT ON TABLE crm_lead IS 'Lead/Opportunity';
COMMENT ON COLUMN crm_lead.won_status IS 'Is Won';
