-- It lists columns of the table that change below; made anew in the end.
DROP VIEW IF EXISTS hr_employee_public;

ALTER TABLE hr_employee RENAME COLUMN km_home_work TO distance_home_work;
ALTER TABLE hr_employee ADD COLUMN distance_home_work_unit character varying DEFAULT 'kilometers' NOT NULL;
ALTER TABLE hr_employee ALTER COLUMN distance_home_work TYPE bigint;

-- The place of work belongs to the resource now.
ALTER TABLE resource_resource ADD COLUMN work_location_id integer;
UPDATE resource_resource AS r
   SET work_location_id = e.work_location_id
  FROM hr_employee AS e
 WHERE e.resource_id = r.id;
ALTER TABLE resource_resource
  ADD CONSTRAINT resource_resource_work_location_id_fkey
  FOREIGN KEY (work_location_id) REFERENCES hr_work_location (id) ON DELETE SET NULL;
ALTER TABLE hr_employee DROP COLUMN work_location_id;

ALTER TABLE hr_employee DROP CONSTRAINT hr_employee_barcode_uniq;
CREATE UNIQUE INDEX hr_employee_barcode_uniq ON hr_employee (barcode) WHERE barcode IS NOT NULL;
