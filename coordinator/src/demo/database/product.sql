-- upshift demo: module product
CREATE TABLE uom_uom (id serial PRIMARY KEY, name text NOT NULL, factor numeric NOT NULL, active boolean DEFAULT true);
INSERT INTO uom_uom (name, factor) VALUES ('Units', 1), ('Dozen', 12), ('kg', 1), ('g', 0.001), ('Hours', 1);

CREATE TABLE product_category (
    id serial PRIMARY KEY,
    name varchar NOT NULL,
    complete_name varchar,
    parent_id integer REFERENCES product_category ON DELETE CASCADE
);
INSERT INTO product_category (name, complete_name, parent_id)
SELECT 'Category ' || i, 'All / Category ' || i, CASE WHEN i > 1 THEN 1 + i / 10 END
  FROM generate_series(1, 80) AS i ORDER BY i;

CREATE TABLE product_template (
    id serial PRIMARY KEY,
    name text NOT NULL,
    type varchar NOT NULL,
    categ_id integer NOT NULL REFERENCES product_category ON DELETE RESTRICT,
    uom_id integer NOT NULL REFERENCES uom_uom ON DELETE RESTRICT,
    list_price numeric,
    volume double precision,
    weight double precision,
    description_sale text,
    active boolean DEFAULT true,
    write_date timestamp
);
INSERT INTO product_template (name, type, categ_id, uom_id, list_price, volume, weight, description_sale, active, write_date)
SELECT 'Product ' || i, (ARRAY['product', 'consu', 'service', 'product'])[1 + i % 4], 1 + i % 80, 1 + i % 5,
       round((10 + (i * 7919 % 49000) / 100.0)::numeric, 2), (i % 100) / 10.0, (i % 70) / 7.0,
       CASE WHEN i % 3 = 0 THEN 'Sold as ' || i END, i % 25 <> 0, timestamp '2023-05-01' + i * interval '1 minute'
  FROM generate_series(1, greatest(40, current_setting('demo.rows')::integer / 200)) AS i ORDER BY i;
CREATE INDEX product_template_categ_id_idx ON product_template (categ_id);

CREATE TABLE product_product (
    id serial PRIMARY KEY,
    product_tmpl_id integer NOT NULL REFERENCES product_template ON DELETE CASCADE,
    default_code varchar,
    barcode varchar,
    standard_price numeric,
    active boolean DEFAULT true
);
INSERT INTO product_product (product_tmpl_id, default_code, barcode, standard_price, active)
SELECT t.id, 'P' || lpad(t.id::text, 6, '0') || '-' || variant,
       CASE WHEN t.id % 2 = 0 THEN '40' || lpad((t.id * 2 + variant)::text, 11, '0') END,
       round(t.list_price * 0.6, 4), t.active
  FROM product_template AS t, generate_series(0, 1) AS variant
 ORDER BY t.id, variant;
CREATE INDEX product_product_product_tmpl_id_idx ON product_product (product_tmpl_id);
CREATE UNIQUE INDEX product_product_barcode_uniq ON product_product (barcode) WHERE barcode IS NOT NULL;

-- Left behind by an older version.
CREATE TABLE product_packaging_old (
    id serial PRIMARY KEY,
    product_id integer NOT NULL REFERENCES product_product ON DELETE CASCADE,
    name varchar,
    qty double precision
);
INSERT INTO product_packaging_old (product_id, name, qty)
SELECT id, 'Box of 6', 6 FROM product_product WHERE id % 5 = 0 ORDER BY id;
