-- Units point at their reference unit instead of sharing a category with it.
ALTER TABLE uom_uom ADD COLUMN relative_uom_id integer;

UPDATE uom_uom AS u
   SET relative_uom_id = ref.id
  FROM uom_uom AS ref
 WHERE ref.category_id = u.category_id AND ref.uom_type = 'reference' AND u.uom_type <> 'reference';

ALTER TABLE uom_uom
  ADD CONSTRAINT uom_uom_relative_uom_id_fkey
  FOREIGN KEY (relative_uom_id) REFERENCES uom_uom (id) ON DELETE CASCADE;

CREATE INDEX uom_uom__relative_uom_id_index ON uom_uom (relative_uom_id);

ALTER TABLE uom_uom ALTER COLUMN rounding TYPE double precision USING round(rounding, 3)::double precision;
