-- upshift: chunk = none, label = "untaxed amounts of orders from their lines"
UPDATE sale_order AS so
   SET amount_to_invoice = agg.total
  FROM (SELECT order_id, sum(price_total) AS total FROM sale_order_line GROUP BY order_id) AS agg
 WHERE agg.order_id = so.id AND so.state = 'sale' AND so.invoice_status <> 'invoiced';

ALTER TABLE sale_order
  ADD CONSTRAINT sale_order_date_order_conditional_check
  CHECK (state NOT IN ('sale', 'done') OR date_order IS NOT NULL);

UPDATE sale_order_line AS sol
   SET discount = COALESCE(sol.discount, 0.0), product_packaging_qty = COALESCE(sol.product_packaging_qty, 0);
