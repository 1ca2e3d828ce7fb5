ALTER TABLE stock_move RENAME COLUMN quantity_done TO quantity;
ALTER TABLE stock_move ADD COLUMN picked boolean;
UPDATE stock_move SET picked = (state = 'done');
ALTER TABLE stock_move ADD COLUMN location_final_id integer;
-- upshift: label = "where each move's goods end up"
UPDATE stock_move AS sm
   SET location_final_id = coalesce(type.default_location_dest_id, self.location_dest_id)
  FROM stock_move AS self
  LEFT JOIN stock_picking AS picking ON picking.id = self.picking_id
  LEFT JOIN stock_picking_type AS type ON type.id = picking.picking_type_id
 WHERE sm.id = self.id;
ALTER TABLE stock_move
    ADD CONSTRAINT stock_move_location_final_id_fkey FOREIGN KEY (location_final_id) REFERENCES stock_location;
