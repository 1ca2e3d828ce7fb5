-- The name of a tracked field moves from every row into a table of fields.
CREATE TABLE mail_field (id serial PRIMARY KEY, name varchar NOT NULL UNIQUE);
-- upshift: label = "fields that were ever tracked"
INSERT INTO mail_field (name) SELECT DISTINCT field FROM mail_tracking_value ORDER BY field;
ALTER TABLE mail_tracking_value ADD COLUMN field_id integer;
UPDATE mail_tracking_value AS v SET field_id = f.id FROM mail_field AS f WHERE f.name = v.field;
ALTER TABLE mail_tracking_value ALTER COLUMN field_id SET NOT NULL;
ALTER TABLE mail_tracking_value
    ADD CONSTRAINT mail_tracking_value_field_id_fkey FOREIGN KEY (field_id) REFERENCES mail_field ON DELETE CASCADE;
ALTER TABLE mail_tracking_value DROP COLUMN field;
