ALTER TABLE stock_move ALTER COLUMN priority TYPE integer USING priority::integer;
ALTER TABLE stock_picking ADD COLUMN move_count integer NOT NULL DEFAULT 0;
-- upshift: label = "moves of each picking"
UPDATE stock_picking AS p
   SET move_count = (SELECT count(*) FROM stock_move AS m WHERE m.picking_id = p.id);
CREATE INDEX stock_move_open_idx ON stock_move (date, id) WHERE state NOT IN ('done', 'cancel');
