ALTER TABLE stock_move ADD COLUMN openupgrade_legacy_18_0_quantity numeric;
ALTER TABLE stock_move ADD COLUMN location_final_id integer;

UPDATE stock_move SET openupgrade_legacy_18_0_quantity = quantity;

-- Where the goods end up: what the operation's type says, else where the move leads to.
UPDATE stock_move AS sm
   SET location_final_id = COALESCE(spt.default_location_dest_id, sm2.location_dest_id),
       quantity = CASE WHEN sm.state = 'cancel' THEN 0 ELSE sm.quantity END
  FROM stock_move AS sm2
  LEFT JOIN stock_picking AS sp ON sp.id = sm2.picking_id
  LEFT JOIN stock_picking_type AS spt ON spt.id = COALESCE(sp.picking_type_id, sm2.picking_type_id)
 WHERE sm2.id = sm.id;
