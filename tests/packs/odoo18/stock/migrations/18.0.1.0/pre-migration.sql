ALTER TABLE stock_move ADD COLUMN location_final_id integer;
ALTER TABLE stock_move ADD COLUMN packaging_uom_qty numeric;

UPDATE stock_move SET packaging_uom_qty = quantity;

UPDATE stock_move AS sm
   SET location_final_id = COALESCE(pt.default_location_dest_id, sm2.location_dest_id)
  FROM stock_move AS sm2
  LEFT JOIN stock_picking AS sp ON sp.id = sm2.picking_id
  LEFT JOIN stock_picking_type AS pt ON pt.id = COALESCE(sp.picking_type_id, sm2.picking_type_id)
 WHERE sm2.id = sm.id;

ALTER TABLE stock_move
  ADD CONSTRAINT stock_move_location_final_id_fkey
  FOREIGN KEY (location_final_id) REFERENCES stock_location (id) ON DELETE SET NULL;

ALTER TABLE stock_move RENAME COLUMN delay_alert_date TO openupgrade_legacy_18_0_delay_alert_date;
ALTER TABLE stock_move DROP COLUMN next_serial_count;

ALTER TABLE stock_picking ALTER COLUMN priority SET DEFAULT '0';
