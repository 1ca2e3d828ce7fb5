-- A text column becomes a relation.
CREATE TABLE sale_analytic_tag (id serial PRIMARY KEY, name varchar NOT NULL UNIQUE);
INSERT INTO sale_analytic_tag (name)
SELECT DISTINCT analytic_ref FROM sale_order WHERE analytic_ref IS NOT NULL ORDER BY analytic_ref;
CREATE TABLE sale_order_analytic_tag_rel (
    order_id integer NOT NULL REFERENCES sale_order ON DELETE CASCADE,
    tag_id integer NOT NULL REFERENCES sale_analytic_tag ON DELETE CASCADE,
    PRIMARY KEY (order_id, tag_id)
);
INSERT INTO sale_order_analytic_tag_rel (order_id, tag_id)
SELECT o.id, t.id FROM sale_order AS o JOIN sale_analytic_tag AS t ON t.name = o.analytic_ref ORDER BY o.id;
ALTER TABLE sale_order DROP COLUMN analytic_ref;
