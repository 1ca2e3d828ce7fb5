DELETE FROM ir_property WHERE name = 'standard_price' AND res_id LIKE 'product.product,%';

UPDATE product_product AS pp
   SET weight = COALESCE(NULLIF(pp.weight, 0), t.weight), volume = COALESCE(NULLIF(pp.volume, 0), t.volume)
  FROM product_template AS t
 WHERE t.id = pp.product_tmpl_id;
