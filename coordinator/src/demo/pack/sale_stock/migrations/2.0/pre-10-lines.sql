ALTER TABLE sale_order_line ADD COLUMN warehouse_state varchar;
-- upshift: label = "delivery state of each order line"
UPDATE sale_order_line
   SET warehouse_state = CASE
           WHEN qty_delivered >= product_uom_qty THEN 'full'
           WHEN qty_delivered > 0 THEN 'partial'
           ELSE 'none'
       END;
ALTER TABLE sale_order_line ALTER COLUMN warehouse_state SET NOT NULL;
