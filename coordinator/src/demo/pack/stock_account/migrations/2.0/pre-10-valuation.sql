-- One layer of value for each delivery: ids in the order of the moves.
CREATE TABLE stock_valuation_layer (
    id serial PRIMARY KEY,
    stock_move_id integer NOT NULL,
    product_id integer NOT NULL,
    quantity numeric NOT NULL,
    value numeric NOT NULL
);
INSERT INTO stock_valuation_layer (stock_move_id, product_id, quantity, value)
SELECT m.id, m.product_id, -m.quantity, round(-m.quantity * p.standard_price, 2)
  FROM stock_move AS m
  JOIN product_product AS p ON p.id = m.product_id
 WHERE m.state = 'done'
 ORDER BY m.id;
CREATE INDEX stock_valuation_layer_product_idx ON stock_valuation_layer (product_id);
CREATE INDEX stock_valuation_layer_move_idx ON stock_valuation_layer (stock_move_id);
