-- The second module that writes the order lines.
ALTER TABLE sale_order_line ADD COLUMN warehouse_id integer;
UPDATE sale_order_line AS sol
   SET warehouse_id = so.warehouse_id, customer_lead = COALESCE(sol.customer_lead, 0)
  FROM sale_order AS so
 WHERE so.id = sol.order_id;
CREATE INDEX sale_order_line__warehouse_id_index ON sale_order_line (warehouse_id);
