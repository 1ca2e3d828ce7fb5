-- A table without a key, ON CONFLICT, and a DO block with the author's undo.
UPDATE setting SET value = value - 'old';
INSERT INTO tag (name, color) VALUES ('tag 1', 99), ('fresh', 1) ON CONFLICT (name) DO UPDATE SET color = excluded.color;
INSERT INTO tag (id, name) VALUES (1000, 'given id');
DELETE FROM tag WHERE id BETWEEN 30 AND 35;
-- upshift: undo = "DELETE FROM audit WHERE what = 'upgraded'"
DO $$ BEGIN INSERT INTO audit VALUES ('2024-05-05', 'upgraded'); END $$;
-- upshift: when = not column_exists(partner.never)
UPDATE partner SET credit = credit + 1 WHERE id % 100 = 0;
