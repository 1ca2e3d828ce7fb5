-- upshift demo: module sale (and crm's teams)
CREATE TABLE crm_team (id serial PRIMARY KEY, name text NOT NULL, company_id integer REFERENCES res_company, use_quotations boolean);
INSERT INTO crm_team (name, company_id, use_quotations)
SELECT 'Team ' || i, 1 + i % 4, i % 2 = 0 FROM generate_series(1, 12) AS i ORDER BY i;

CREATE TABLE sale_order (
    id serial PRIMARY KEY,
    name varchar NOT NULL,
    partner_id integer NOT NULL,
    user_id integer,
    team_id integer,
    company_id integer NOT NULL,
    date_order timestamp NOT NULL,
    state varchar NOT NULL,
    client_order_ref varchar,
    amount_untaxed numeric,
    amount_tax numeric,
    note text,
    analytic_ref varchar,
    create_date timestamp
);
INSERT INTO sale_order (name, partner_id, user_id, team_id, company_id, date_order, state, client_order_ref,
                        amount_untaxed, amount_tax, note, analytic_ref, create_date)
SELECT 'S' || lpad(i::text, 7, '0'), 1 + (i::bigint * 31 % partners), 1 + i % 200,
       CASE WHEN i % 3 <> 0 THEN 1 + i % 12 END, 1 + i % 4, timestamp '2019-02-01' + i * interval '20 minutes',
       (ARRAY['sale', 'draft', 'done', 'cancel', 'sent'])[1 + i % 5], CASE WHEN i % 4 = 0 THEN 'PO' || i END,
       round((100 + (i::bigint * 7919 % 490000) / 100.0)::numeric, 2),
       round((19 + (i::bigint * 1511 % 90000) / 100.0)::numeric, 2),
       CASE WHEN i % 6 = 0 THEN 'Please deliver in the morning.' END, CASE WHEN i % 8 = 0 THEN 'A' || i % 100 END,
       timestamp '2019-02-01' + i * interval '20 minutes'
  FROM generate_series(1, greatest(50, current_setting('demo.rows')::integer / 10)) AS i,
       (SELECT count(*)::integer AS partners FROM res_partner) AS size
 ORDER BY i;
ALTER TABLE sale_order
    ADD CONSTRAINT sale_order_partner_id_fkey FOREIGN KEY (partner_id) REFERENCES res_partner ON DELETE RESTRICT,
    ADD CONSTRAINT sale_order_user_id_fkey FOREIGN KEY (user_id) REFERENCES res_users ON DELETE SET NULL,
    ADD CONSTRAINT sale_order_team_id_fkey FOREIGN KEY (team_id) REFERENCES crm_team ON DELETE SET NULL;
CREATE INDEX sale_order_partner_id_idx ON sale_order (partner_id);
CREATE INDEX sale_order_date_order_idx ON sale_order (date_order DESC, id DESC);

CREATE TABLE sale_order_line (
    id serial PRIMARY KEY,
    order_id integer NOT NULL,
    product_id integer,
    name text NOT NULL,
    sequence integer,
    state varchar,
    product_uom_qty numeric NOT NULL,
    qty_delivered numeric,
    qty_invoiced numeric,
    price_unit numeric NOT NULL,
    discount numeric,
    price_subtotal numeric,
    product_packaging_qty double precision,
    is_downpayment boolean
);
INSERT INTO sale_order_line (order_id, product_id, name, sequence, state, product_uom_qty, qty_delivered,
                             qty_invoiced, price_unit, discount, price_subtotal, product_packaging_qty,
                             is_downpayment)
SELECT o.id, CASE WHEN k < 3 THEN 1 + ((o.id::bigint * 4 + k) * 17 % products) END, 'Line ' || k || ' of ' || o.name,
       10 * k, o.state, 1 + (o.id + k) % 9, CASE WHEN o.state IN ('sale', 'done') THEN 1 + (o.id + k) % 9 ELSE 0 END,
       0, round(o.amount_untaxed / 4, 2), CASE WHEN o.id % 10 = 0 THEN 10 ELSE 0 END,
       round(o.amount_untaxed / 4, 2), CASE WHEN k = 0 THEN 6 END, k = 3 AND o.id % 7 = 0
  FROM sale_order AS o, generate_series(0, 3) AS k, (SELECT count(*)::integer AS products FROM product_product) AS size
 ORDER BY o.id, k;
ALTER TABLE sale_order_line
    ADD CONSTRAINT sale_order_line_order_id_fkey FOREIGN KEY (order_id) REFERENCES sale_order ON DELETE CASCADE,
    ADD CONSTRAINT sale_order_line_product_id_fkey FOREIGN KEY (product_id) REFERENCES product_product ON DELETE RESTRICT;
CREATE INDEX sale_order_line_order_id_idx ON sale_order_line (order_id);
CREATE INDEX sale_order_line_product_id_idx ON sale_order_line (product_id);
