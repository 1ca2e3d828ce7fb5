CREATE VIEW hr_employee_public AS
SELECT e.id, e.name, e.active, e.company_id, e.department_id, e.job_title, e.work_email, r.work_location_id,
       e.distance_home_work
  FROM hr_employee AS e
  JOIN resource_resource AS r ON r.id = e.resource_id;
