-- upshift: label = "a line in the resume for every skill at its highest level"
INSERT INTO hr_resume_line (employee_id, line_type_id, name, date_start, display_type, create_uid, write_uid,
                            create_date, write_date)
SELECT es.employee_id, NULL, jsonb_build_object('en_US', s.name), es.create_date::date, 'classic', es.create_uid, es.write_uid,
       es.create_date, es.write_date
  FROM hr_employee_skill AS es
  JOIN hr_skill AS s ON s.id = es.skill_id
  JOIN hr_skill_level AS l ON l.id = es.skill_level_id
 WHERE l.level_progress = 100
 ORDER BY es.employee_id, s.id;

DELETE FROM hr_employee_skill_log AS log
 USING hr_skill_level AS l
 WHERE l.id = log.skill_level_id AND l.level_progress < 50;
