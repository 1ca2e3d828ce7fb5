CREATE INDEX stock_move__location_final_id_index ON stock_move (location_final_id);

-- Nobody counts what stands in a location that only balances the books.
DELETE FROM stock_quant AS q
 USING stock_location AS l
 WHERE l.id = q.location_id AND l.usage = 'inventory' AND q.inventory_quantity_set IS NOT TRUE;

UPDATE stock_move_line AS sml
   SET picking_id = COALESCE(sml.picking_id, sm.picking_id), state = sm.state
  FROM stock_move AS sm
 WHERE sm.id = sml.move_id AND (sml.state IS DISTINCT FROM sm.state OR sml.picking_id IS NULL);
