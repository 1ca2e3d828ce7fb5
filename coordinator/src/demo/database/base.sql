-- upshift demo: module base
CREATE TABLE installed_module (name text PRIMARY KEY, version text NOT NULL);
INSERT INTO installed_module (name, version)
SELECT name, '1.0'
  FROM unnest(ARRAY['base', 'mail', 'partner', 'product', 'account', 'sale', 'stock', 'sale_stock',
                    'stock_account', 'crm', 'account_followup', 'contacts']) AS name;

CREATE TABLE res_currency (
    id serial PRIMARY KEY,
    name varchar(3) NOT NULL UNIQUE,
    symbol varchar NOT NULL,
    rounding numeric(12, 6) NOT NULL DEFAULT 0.01,
    active boolean NOT NULL DEFAULT true
);
INSERT INTO res_currency (name, symbol) VALUES ('EUR', '€'), ('USD', '$'), ('CHF', 'CHF'), ('GBP', '£');

CREATE TABLE res_country (id serial PRIMARY KEY, code varchar(2) NOT NULL UNIQUE, name text NOT NULL);
INSERT INTO res_country (code, name)
SELECT chr(65 + i / 26) || chr(65 + i % 26), 'Country ' || i FROM generate_series(0, 249) AS i ORDER BY i;

CREATE TABLE res_company (
    id serial PRIMARY KEY,
    name text NOT NULL UNIQUE,
    currency_id integer NOT NULL REFERENCES res_currency,
    country_id integer REFERENCES res_country,
    fiscalyear_last_month varchar NOT NULL DEFAULT '12'
);
INSERT INTO res_company (name, currency_id, country_id)
SELECT 'Company ' || i, 1 + (i - 1) % 4, 20 + i FROM generate_series(1, 4) AS i ORDER BY i;

CREATE TABLE res_users (
    id serial PRIMARY KEY,
    login text NOT NULL UNIQUE,
    company_id integer NOT NULL REFERENCES res_company,
    signature text,
    active boolean NOT NULL DEFAULT true
);
INSERT INTO res_users (login, company_id, signature)
SELECT 'user' || i || '@example.com', 1 + i % 4, '<p>User ' || i || '</p>'
  FROM generate_series(1, 200) AS i ORDER BY i;

CREATE TABLE ir_config_parameter (id serial PRIMARY KEY, key varchar NOT NULL UNIQUE, value text);
INSERT INTO ir_config_parameter (key, value) VALUES
    ('database.uuid', '6f1c8d2e-0000-4000-8000-000000000001'),
    ('web.base.url', 'http://localhost'),
    ('crm.lead_scoring', 'legacy'),
    ('sale.automatic_invoice', 'False');

CREATE TABLE ir_attachment (
    id serial PRIMARY KEY,
    name varchar NOT NULL,
    res_model varchar,
    res_id integer,
    mimetype varchar,
    file_size integer,
    create_uid integer REFERENCES res_users,
    create_date timestamp
);
INSERT INTO ir_attachment (name, res_model, res_id, mimetype, file_size, create_uid, create_date)
SELECT 'document ' || i || '.pdf', (ARRAY['account.move', 'sale.order', 'stock.picking'])[1 + i % 3], i,
       CASE WHEN i % 9 = 0 THEN 'image/png' ELSE 'application/pdf' END, 1000 + i % 90000, 1 + i % 200,
       timestamp '2021-01-01' + i * interval '7 minutes'
  FROM generate_series(1, current_setting('demo.rows')::integer / 20) AS i ORDER BY i;
CREATE INDEX ir_attachment_res_idx ON ir_attachment (res_model, res_id);
