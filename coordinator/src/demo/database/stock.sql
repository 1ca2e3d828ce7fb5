-- upshift demo: module stock
CREATE TABLE stock_location (
    id serial PRIMARY KEY,
    name varchar NOT NULL,
    usage varchar NOT NULL,
    parent_id integer REFERENCES stock_location ON DELETE CASCADE
);
INSERT INTO stock_location (name, usage, parent_id)
SELECT 'Location ' || i, (ARRAY['internal', 'customer', 'supplier', 'transit'])[1 + i % 4], CASE WHEN i > 4 THEN 1 + i % 4 END
  FROM generate_series(1, 60) AS i ORDER BY i;

CREATE TABLE stock_picking_type (
    id serial PRIMARY KEY,
    name text NOT NULL,
    code varchar NOT NULL,
    default_location_dest_id integer REFERENCES stock_location,
    company_id integer REFERENCES res_company
);
INSERT INTO stock_picking_type (name, code, default_location_dest_id, company_id)
SELECT 'Type ' || i, (ARRAY['outgoing', 'incoming', 'internal'])[1 + i % 3], CASE WHEN i % 3 < 2 THEN 2 + i END, 1 + i % 4
  FROM generate_series(1, 12) AS i ORDER BY i;

CREATE TABLE stock_picking (
    id serial PRIMARY KEY,
    name varchar,
    partner_id integer,
    picking_type_id integer NOT NULL,
    sale_id integer,
    state varchar,
    priority varchar,
    scheduled_date timestamp,
    date_done timestamp,
    origin varchar,
    note text
);
INSERT INTO stock_picking (name, partner_id, picking_type_id, sale_id, state, priority, scheduled_date,
                           date_done, origin, note)
SELECT 'WH/OUT/' || lpad(o.id::text, 7, '0'), o.partner_id, 1 + o.id % 12, o.id,
       (ARRAY['done', 'assigned', 'confirmed', 'cancel'])[1 + o.id % 4], (o.id % 2)::text,
       o.date_order + interval '2 days', CASE WHEN o.id % 4 = 0 THEN o.date_order + interval '3 days' END,
       o.name, CASE WHEN o.id % 9 = 0 THEN 'Ring twice.' END
  FROM sale_order AS o ORDER BY o.id;
ALTER TABLE stock_picking
    ADD CONSTRAINT stock_picking_partner_id_fkey FOREIGN KEY (partner_id) REFERENCES res_partner ON DELETE SET NULL,
    ADD CONSTRAINT stock_picking_picking_type_id_fkey FOREIGN KEY (picking_type_id) REFERENCES stock_picking_type,
    ADD CONSTRAINT stock_picking_sale_id_fkey FOREIGN KEY (sale_id) REFERENCES sale_order ON DELETE SET NULL;
CREATE INDEX stock_picking_sale_id_idx ON stock_picking (sale_id);

CREATE TABLE stock_move (
    id serial PRIMARY KEY,
    name varchar NOT NULL,
    picking_id integer,
    product_id integer NOT NULL,
    sale_line_id integer,
    location_id integer NOT NULL,
    location_dest_id integer NOT NULL,
    state varchar,
    priority varchar,
    date timestamp NOT NULL,
    origin varchar,
    reference varchar,
    product_uom_qty numeric NOT NULL,
    quantity_done numeric,
    price_unit double precision,
    group_code varchar
);
INSERT INTO stock_move (name, picking_id, product_id, sale_line_id, location_id, location_dest_id, state, priority,
                        date, origin, reference, product_uom_qty, quantity_done, price_unit, group_code)
SELECT l.name, p.id, l.product_id, l.id, 1 + (4 * l.id) % 60, 2 + (4 * l.id) % 56, p.state, p.priority,
       p.scheduled_date, p.origin, p.name, l.product_uom_qty,
       CASE WHEN p.state = 'done' THEN l.product_uom_qty ELSE 0 END, l.price_unit * 0.6,
       CASE WHEN l.id % 3 = 0 THEN 'G' || l.id % 500 END
  FROM sale_order_line AS l
  JOIN stock_picking AS p ON p.sale_id = l.order_id
 WHERE l.product_id IS NOT NULL
 ORDER BY l.id;
ALTER TABLE stock_move
    ADD CONSTRAINT stock_move_picking_id_fkey FOREIGN KEY (picking_id) REFERENCES stock_picking ON DELETE SET NULL,
    ADD CONSTRAINT stock_move_product_id_fkey FOREIGN KEY (product_id) REFERENCES product_product ON DELETE RESTRICT,
    ADD CONSTRAINT stock_move_sale_line_id_fkey FOREIGN KEY (sale_line_id) REFERENCES sale_order_line ON DELETE SET NULL,
    ADD CONSTRAINT stock_move_location_id_fkey FOREIGN KEY (location_id) REFERENCES stock_location,
    ADD CONSTRAINT stock_move_location_dest_id_fkey FOREIGN KEY (location_dest_id) REFERENCES stock_location;
CREATE INDEX stock_move_picking_id_idx ON stock_move (picking_id);
CREATE INDEX stock_move_product_idx ON stock_move (product_id, location_id, location_dest_id, state);
CREATE INDEX stock_move_sale_line_id_idx ON stock_move (sale_line_id);

CREATE TABLE stock_quant (
    id serial PRIMARY KEY,
    product_id integer NOT NULL REFERENCES product_product,
    location_id integer NOT NULL REFERENCES stock_location,
    quantity numeric,
    reserved_quantity numeric NOT NULL DEFAULT 0,
    in_date timestamp NOT NULL,
    UNIQUE (product_id, location_id)
);
INSERT INTO stock_quant (product_id, location_id, quantity, in_date)
SELECT product_id, location_dest_id, sum(quantity_done), min(date)
  FROM stock_move GROUP BY product_id, location_dest_id ORDER BY product_id, location_dest_id;

CREATE TABLE stock_lot_legacy (id serial PRIMARY KEY, name varchar NOT NULL, product_id integer REFERENCES product_product);
INSERT INTO stock_lot_legacy (name, product_id) SELECT 'LOT' || id, id FROM product_product ORDER BY id;
CREATE VIEW stock_done_by_product AS
    SELECT product_id, count(*) AS moves, sum(product_uom_qty) AS quantity
      FROM stock_move WHERE state = 'done' GROUP BY product_id;
