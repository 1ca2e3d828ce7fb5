-- upshift demo: module partner
CREATE TABLE res_partner_category (
    id serial PRIMARY KEY,
    name text NOT NULL,
    parent_id integer REFERENCES res_partner_category ON DELETE CASCADE
);
INSERT INTO res_partner_category (name, parent_id)
SELECT 'Category ' || i, CASE WHEN i > 5 THEN 1 + i % 5 END FROM generate_series(1, 30) AS i ORDER BY i;

CREATE TABLE res_partner (
    id serial PRIMARY KEY,
    name varchar,
    parent_id integer,
    ref varchar,
    is_company boolean NOT NULL DEFAULT false,
    customer_rank integer NOT NULL DEFAULT 0,
    supplier_rank integer NOT NULL DEFAULT 0,
    country_id integer,
    lang varchar,
    email varchar,
    phone varchar,
    fax varchar,
    street varchar,
    zip varchar,
    city varchar,
    vat varchar,
    credit_limit double precision,
    comment text,
    active boolean DEFAULT true,
    create_date timestamp,
    write_date timestamp
);
-- One in six is a company, the others are its contacts and addresses.
INSERT INTO res_partner (name, parent_id, ref, is_company, customer_rank, supplier_rank, country_id, lang,
                         email, phone, fax, street, zip, city, vat, credit_limit, comment, active,
                         create_date, write_date)
SELECT CASE WHEN i <= n / 6 THEN 'Company ' || i WHEN i % 5 = 0 THEN NULL ELSE 'Contact ' || md5(i::text) END,
       CASE WHEN i > n / 6 THEN 1 + (i::bigint * 7919 % (n / 6)) END,
       CASE WHEN i % 4 = 0 THEN 'C' || i END, i <= n / 6, i % 5, i % 2, 1 + i % 250,
       CASE WHEN i % 3 = 0 THEN 'de_DE' ELSE 'en_US' END,
       CASE WHEN i % 7 <> 0 THEN ' Contact' || i || '@Example.com ' END,
       '+49 30 ' || i, CASE WHEN i % 50 = 0 THEN '+49 31 ' || i END,
       'Street ' || i % 977, lpad((i % 99999)::text, 5, '0'), 'City ' || i % 431,
       CASE WHEN i <= n / 6 AND i % 2 = 0 THEN 'DE' || lpad(i::text, 9, '0') END,
       CASE WHEN i % 3 = 0 THEN i * 1.25 END, CASE WHEN i % 11 = 0 THEN repeat('A remark. ', 5) END,
       i % 40 <> 0, timestamp '2019-01-02 08:00' + i * interval '11 minutes',
       timestamp '2023-01-02 08:00' + i * interval '3 minutes'
  FROM generate_series(1, greatest(60, current_setting('demo.rows')::integer / 20)) AS i,
       (SELECT greatest(60, current_setting('demo.rows')::integer / 20) AS n) AS size
 ORDER BY i;
ALTER TABLE res_partner
    ADD CONSTRAINT res_partner_parent_id_fkey FOREIGN KEY (parent_id) REFERENCES res_partner ON DELETE SET NULL,
    ADD CONSTRAINT res_partner_country_id_fkey FOREIGN KEY (country_id) REFERENCES res_country ON DELETE RESTRICT,
    ADD CONSTRAINT res_partner_check_name CHECK (is_company IS FALSE OR name IS NOT NULL);
CREATE INDEX res_partner_parent_id_idx ON res_partner (parent_id);
CREATE INDEX res_partner_ref_idx ON res_partner (ref);
CREATE INDEX res_partner_vat_idx ON res_partner (vat) WHERE vat IS NOT NULL;

CREATE TABLE res_partner_category_rel (
    partner_id integer NOT NULL REFERENCES res_partner ON DELETE CASCADE,
    category_id integer NOT NULL REFERENCES res_partner_category ON DELETE CASCADE,
    PRIMARY KEY (category_id, partner_id)
);
INSERT INTO res_partner_category_rel (partner_id, category_id)
SELECT id, 1 + id % 30 FROM res_partner WHERE id % 2 = 0 ORDER BY id;
CREATE INDEX res_partner_category_rel_partner_idx ON res_partner_category_rel (partner_id);
