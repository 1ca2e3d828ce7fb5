DROP VIEW open_move;
ALTER TABLE move DROP COLUMN legacy;
ALTER TABLE move ADD COLUMN legacy jsonb, ADD COLUMN gap boolean, ADD COLUMN journal_code text;
-- The self-join on the key with an outer join behind it.
UPDATE move a SET journal_code = j.code, legacy = jsonb_build_object('partner', p.name)
FROM move b JOIN account_journal j ON j.id = b.journal_id LEFT JOIN partner p ON p.id = b.partner_id
WHERE a.id = b.id;
-- The self-join to the previous number of the same journal.
UPDATE move SET gap = true;
UPDATE move a SET gap = false FROM move b WHERE a.journal_id = b.journal_id AND a.number = b.number + 5;
ALTER TABLE move ALTER COLUMN ref TYPE integer USING nullif(substr(ref, 2), '')::integer;
ALTER TABLE move ALTER COLUMN number TYPE bigint;
ALTER TABLE move DROP CONSTRAINT move_amount_check;
ALTER TABLE move ALTER COLUMN state DROP DEFAULT;
UPDATE move SET state = CASE WHEN amount < 0 THEN 'refund' ELSE state END WHERE state IS DISTINCT FROM 'done';
CREATE VIEW open_move AS SELECT id, partner_id, amount, gap FROM move WHERE state <> 'done';
