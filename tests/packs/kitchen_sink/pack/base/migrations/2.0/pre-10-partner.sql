-- Renames, new columns, and several UPDATEs of one table.
ALTER TABLE partner RENAME COLUMN active TO is_active;
ALTER TABLE partner ADD COLUMN display_name text, ADD COLUMN tag_count integer DEFAULT 0 NOT NULL;
UPDATE partner SET display_name = name || COALESCE(' <' || email || '>', ''), is_active = is_active OR credit > 100;
UPDATE partner p SET tag_count = s.n
FROM (SELECT partner_id, count(*) AS n FROM partner_tag_rel GROUP BY partner_id) s
WHERE s.partner_id = p.id;
-- The parent's name: another row of the same table, a column that nobody writes.
UPDATE partner a SET display_name = b.name || ' / ' || a.display_name FROM partner b WHERE b.id = a.parent_id;
ALTER TABLE partner ALTER COLUMN email TYPE varchar(200);
ALTER TABLE partner ALTER COLUMN credit TYPE numeric(14, 2);
ALTER TABLE partner ALTER COLUMN display_name SET NOT NULL;
CREATE INDEX ON partner (display_name);
DROP INDEX partner_name_idx;
COMMENT ON COLUMN partner.email IS 'where to write now';
COMMENT ON COLUMN partner.display_name IS 'it''s shown';
ALTER TABLE partner ADD CONSTRAINT partner_credit_check CHECK (credit >= 0) NOT VALID;
ALTER TABLE partner VALIDATE CONSTRAINT partner_credit_check;
