UPDATE stock_valuation_layer AS svl
   SET unit_cost = COALESCE((pp.standard_price ->> svl.company_id::text)::numeric, 0.01)
  FROM product_product AS pp
 WHERE pp.id = svl.product_id AND svl.unit_cost = 0;

ALTER TABLE stock_move ALTER COLUMN price_unit TYPE numeric USING round(price_unit::numeric, 4);
