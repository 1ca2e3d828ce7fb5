-- upshift: when = table_exists(project_task_user_rel)
INSERT INTO mail_followers (res_model, res_id, partner_id)
SELECT DISTINCT 'project.project', t.project_id, u.partner_id
  FROM project_task_user_rel AS r
  JOIN project_task AS t ON t.id = r.task_id
  JOIN res_users AS u ON u.id = r.user_id
 WHERE t.project_id IS NOT NULL
   AND NOT EXISTS (SELECT 1
                     FROM mail_followers AS f
                    WHERE f.res_model = 'project.project' AND f.res_id = t.project_id
                      AND f.partner_id = u.partner_id)
 ORDER BY t.project_id, u.partner_id;

-- upshift: when = module_installed(industry_fsm)
UPDATE project_project
   SET allow_billable = TRUE
 WHERE EXISTS (SELECT 1 FROM ir_module_module WHERE name = 'industry_fsm' AND state = 'installed');
