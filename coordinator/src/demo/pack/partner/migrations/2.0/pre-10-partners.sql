ALTER TABLE res_partner RENAME COLUMN ref TO reference;
ALTER TABLE res_partner ADD COLUMN commercial_partner_id integer;
-- upshift: label = "the company behind each contact"
UPDATE res_partner SET commercial_partner_id = coalesce(parent_id, id);
ALTER TABLE res_partner
    ADD CONSTRAINT res_partner_commercial_partner_id_fkey
    FOREIGN KEY (commercial_partner_id) REFERENCES res_partner ON DELETE SET NULL;
CREATE INDEX res_partner_commercial_partner_id_idx ON res_partner (commercial_partner_id);
