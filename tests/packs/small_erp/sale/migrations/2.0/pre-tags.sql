ALTER TABLE partner_tag RENAME TO partner_tag_rel;
ALTER TABLE partner_tag_rel RENAME COLUMN tag_id TO label_id;

INSERT INTO tag (name) SELECT DISTINCT 'journal ' || journal_id FROM move ORDER BY 1;

INSERT INTO partner_tag_rel (partner_id, label_id)
SELECT DISTINCT m.partner_id, t.id
  FROM move AS m
  JOIN tag AS t ON t.name = 'journal ' || m.journal_id
 WHERE m.partner_id IS NOT NULL;

CREATE TABLE sale_total AS
SELECT partner_id, sum(amount) AS amount, count(*) AS lines FROM line GROUP BY partner_id;

CREATE UNIQUE INDEX sale_total_partner_id_idx ON sale_total (partner_id);
