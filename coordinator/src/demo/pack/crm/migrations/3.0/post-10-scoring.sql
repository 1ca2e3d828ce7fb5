-- A statement that no compiler can see through, and how it is taken back.
-- upshift: label = "lead scoring by the new model"
-- upshift: undo = "UPDATE ir_config_parameter SET value = 'legacy' WHERE key = 'crm.lead_scoring'"
DO $$
BEGIN
    IF EXISTS (SELECT FROM ir_config_parameter WHERE key = 'crm.lead_scoring' AND value = 'legacy') THEN
        UPDATE ir_config_parameter SET value = 'bayes' WHERE key = 'crm.lead_scoring';
    END IF;
END
$$;
