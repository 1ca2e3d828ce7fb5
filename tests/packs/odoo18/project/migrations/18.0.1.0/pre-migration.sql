ALTER TABLE project_project RENAME COLUMN analytic_account_id TO account_id;

-- The analytic account of tasks moves to their project.
UPDATE project_project AS p
   SET account_id = COALESCE(p.account_id, t.account_id)
  FROM (SELECT project_id, min(analytic_account_id) AS account_id
          FROM project_task
         WHERE analytic_account_id IS NOT NULL AND project_id IS NOT NULL
         GROUP BY project_id) AS t
 WHERE t.project_id = p.id;

ALTER TABLE project_task DROP COLUMN analytic_account_id;

UPDATE project_task SET state = CASE state WHEN '03_approved' THEN '1_done' ELSE state END;
UPDATE project_task AS t
   SET allocated_hours = COALESCE(t.allocated_hours, 0), partner_id = COALESCE(t.partner_id, p.partner_id)
  FROM project_project AS p
 WHERE p.id = t.project_id;

ALTER TABLE project_project
  ALTER COLUMN label_tasks SET DEFAULT '{"en_US": "Tasks"}'::jsonb;
