-- The second module that writes the order lines.
ALTER TABLE sale_order_line ADD COLUMN warehouse_id integer;

UPDATE sale_order_line AS sol
   SET warehouse_id = so.warehouse_id
  FROM sale_order AS so
 WHERE so.id = sol.order_id;
