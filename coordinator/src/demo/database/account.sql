-- upshift demo: module account
CREATE TABLE account_account (
    id serial PRIMARY KEY,
    code varchar(64) NOT NULL,
    name text NOT NULL,
    account_type varchar NOT NULL,
    company_id integer NOT NULL REFERENCES res_company,
    reconcile boolean NOT NULL DEFAULT false,
    UNIQUE (code, company_id)
);
INSERT INTO account_account (code, name, account_type, company_id, reconcile)
SELECT (1000 + i)::text, 'Account ' || i,
       (ARRAY['asset_receivable', 'liability_payable', 'income', 'expense', 'asset_cash'])[1 + i % 5],
       1 + i % 4, i % 5 < 2
  FROM generate_series(0, 399) AS i ORDER BY i;

CREATE TABLE account_journal (
    id serial PRIMARY KEY,
    code varchar(5) NOT NULL,
    name text NOT NULL,
    type varchar NOT NULL,
    company_id integer NOT NULL REFERENCES res_company,
    UNIQUE (code, company_id)
);
INSERT INTO account_journal (code, name, type, company_id)
SELECT kind.code, kind.name, kind.type, company.id
  FROM res_company AS company,
       (VALUES ('INV', 'Customer Invoices', 'sale'), ('BILL', 'Vendor Bills', 'purchase'),
               ('BNK1', 'Bank', 'bank'), ('MISC', 'Miscellaneous', 'general')) AS kind (code, name, type)
 ORDER BY company.id, kind.code;

CREATE TABLE account_tax (id serial PRIMARY KEY, name text NOT NULL, amount numeric(16, 4) NOT NULL);
INSERT INTO account_tax (name, amount) VALUES ('19 %', 19), ('7 %', 7), ('0 %', 0);

CREATE TABLE account_move (
    id serial PRIMARY KEY,
    name varchar,
    ref varchar,
    date date NOT NULL,
    invoice_date date,
    invoice_date_due date,
    state varchar NOT NULL,
    move_type varchar NOT NULL,
    journal_id integer NOT NULL,
    company_id integer NOT NULL,
    currency_id integer NOT NULL,
    partner_id integer,
    sequence_prefix varchar,
    sequence_number integer,
    amount_untaxed numeric,
    amount_tax numeric,
    amount_total numeric,
    payment_state varchar,
    invoice_origin varchar,
    to_check boolean,
    narration text,
    create_uid integer,
    create_date timestamp,
    write_date timestamp
);
INSERT INTO account_move (name, ref, date, invoice_date, invoice_date_due, state, move_type, journal_id,
                          company_id, currency_id, partner_id, sequence_prefix, sequence_number,
                          amount_untaxed, amount_tax, amount_total, payment_state, invoice_origin, to_check,
                          narration, create_uid, create_date, write_date)
SELECT prefix || lpad((i / 16 + (i % 97 = 0)::integer)::text, 6, '0'), CASE WHEN i % 3 = 0 THEN 'REF' || i END,
       day, CASE WHEN i % 4 < 2 THEN day END, CASE WHEN i % 4 < 2 THEN day + 30 END,
       (ARRAY['posted', 'posted', 'posted', 'draft', 'posted', 'cancel'])[1 + i % 6],
       (ARRAY['out_invoice', 'in_invoice', 'entry', 'out_refund'])[1 + i % 4], 1 + i % 16, 1 + (i % 16) / 4,
       1 + (i % 16) / 4, 1 + (i::bigint * 31 % partners), prefix, i / 16 + (i % 97 = 0)::integer, amount,
       round(amount * 0.19, 2), amount + round(amount * 0.19, 2),
       (ARRAY['not_paid', 'paid', 'partial', 'in_payment'])[1 + i % 4],
       CASE WHEN i % 4 = 0 THEN 'S' || lpad((i / 4)::text, 7, '0') END,
       i % 20 = 0, CASE WHEN i % 13 = 0 THEN 'Payable within 30 days.' END, 1 + i % 200,
       timestamp '2019-02-01' + i * interval '5 minutes', timestamp '2023-02-01' + i * interval '1 minute'
  FROM (SELECT i, date '2019-02-01' + (i / 200) AS day, 'J' || 1 + i % 16 || '/2019/' AS prefix,
               round((100 + (i::bigint * 7919 % 490000) / 100.0)::numeric, 2) AS amount
          FROM generate_series(1, greatest(100, current_setting('demo.rows')::integer / 4)) AS i) AS source,
       (SELECT count(*)::integer AS partners FROM res_partner) AS size
 ORDER BY i;
ALTER TABLE account_move
    ADD CONSTRAINT account_move_journal_id_fkey FOREIGN KEY (journal_id) REFERENCES account_journal ON DELETE RESTRICT,
    ADD CONSTRAINT account_move_company_id_fkey FOREIGN KEY (company_id) REFERENCES res_company,
    ADD CONSTRAINT account_move_currency_id_fkey FOREIGN KEY (currency_id) REFERENCES res_currency,
    ADD CONSTRAINT account_move_partner_id_fkey FOREIGN KEY (partner_id) REFERENCES res_partner ON DELETE RESTRICT;
CREATE INDEX account_move_journal_sequence_idx
    ON account_move (journal_id, sequence_prefix DESC, (sequence_number + 1) DESC);
CREATE INDEX account_move_sequence_idx ON account_move (journal_id, sequence_prefix, sequence_number);
CREATE INDEX account_move_partner_id_idx ON account_move (partner_id);
CREATE INDEX account_move_date_idx ON account_move (date);
CREATE INDEX account_move_to_check_idx ON account_move (journal_id) WHERE to_check;

CREATE TABLE account_move_line (
    id serial PRIMARY KEY,
    move_id integer NOT NULL,
    account_id integer NOT NULL,
    partner_id integer,
    product_id integer,
    company_id integer NOT NULL,
    currency_id integer NOT NULL,
    tax_line_id integer,
    name varchar,
    date date,
    sequence integer,
    quantity numeric,
    price_unit numeric,
    discount numeric,
    debit numeric NOT NULL DEFAULT 0,
    credit numeric NOT NULL DEFAULT 0,
    amount_currency numeric,
    display_type varchar NOT NULL,
    reconciled boolean,
    blocked boolean
);
-- Four lines a move: product, product, tax, and the term that balances them.
INSERT INTO account_move_line (move_id, account_id, partner_id, product_id, company_id, currency_id, tax_line_id,
                               name, date, sequence, quantity, price_unit, discount, debit, credit,
                               amount_currency, display_type, reconciled, blocked)
SELECT m.id, 1 + (m.id * 4 + k) % 400, m.partner_id,
       CASE WHEN k < 2 THEN 1 + ((m.id::bigint * 4 + k) * 13 % products) END,
       m.company_id, m.currency_id, CASE WHEN k = 2 THEN 1 + m.id % 3 END,
       CASE k WHEN 3 THEN m.name WHEN 2 THEN 'Tax' ELSE 'Line ' || (m.id * 4 + k) % 1000 END,
       m.date, 10 * k, CASE WHEN k < 2 THEN 1 + (m.id + k) % 9 END,
       CASE WHEN k < 2 THEN round(m.amount_untaxed / 2, 2) END, CASE WHEN k = 1 AND m.id % 10 = 0 THEN 5 ELSE 0 END,
       CASE WHEN k = 3 THEN m.amount_total ELSE 0 END,
       CASE k WHEN 0 THEN round(m.amount_untaxed / 2, 2)
              WHEN 1 THEN m.amount_untaxed - round(m.amount_untaxed / 2, 2)
              WHEN 2 THEN m.amount_tax ELSE 0 END,
       CASE k WHEN 0 THEN -round(m.amount_untaxed / 2, 2)
              WHEN 1 THEN round(m.amount_untaxed / 2, 2) - m.amount_untaxed
              WHEN 2 THEN -m.amount_tax ELSE m.amount_total END,
       (ARRAY['product', 'product', 'tax', 'payment_term'])[k + 1], k = 3 AND m.payment_state = 'paid',
       k = 3 AND m.id % 50 = 0
  FROM account_move AS m, generate_series(0, 3) AS k, (SELECT count(*)::integer AS products FROM product_product) AS size
 ORDER BY m.id, k;
ALTER TABLE account_move_line
    ADD CONSTRAINT account_move_line_move_id_fkey FOREIGN KEY (move_id) REFERENCES account_move ON DELETE CASCADE,
    ADD CONSTRAINT account_move_line_account_id_fkey FOREIGN KEY (account_id) REFERENCES account_account ON DELETE RESTRICT,
    ADD CONSTRAINT account_move_line_partner_id_fkey FOREIGN KEY (partner_id) REFERENCES res_partner ON DELETE RESTRICT,
    ADD CONSTRAINT account_move_line_product_id_fkey FOREIGN KEY (product_id) REFERENCES product_product ON DELETE RESTRICT,
    ADD CONSTRAINT account_move_line_tax_line_id_fkey FOREIGN KEY (tax_line_id) REFERENCES account_tax ON DELETE RESTRICT,
    ADD CONSTRAINT account_move_line_check_credit_debit CHECK (credit * debit = 0);
CREATE INDEX account_move_line_move_id_idx ON account_move_line (move_id);
CREATE INDEX account_move_line_account_id_date_idx ON account_move_line (account_id, date);
CREATE INDEX account_move_line_partner_id_idx ON account_move_line (partner_id);

CREATE TABLE account_move_line_tax_rel (
    line_id integer NOT NULL,
    tax_id integer NOT NULL REFERENCES account_tax ON DELETE RESTRICT
);
INSERT INTO account_move_line_tax_rel (line_id, tax_id)
SELECT id, 1 + id % 3 FROM account_move_line WHERE display_type = 'product' AND id % 2 = 0 ORDER BY id;
ALTER TABLE account_move_line_tax_rel ADD PRIMARY KEY (line_id, tax_id),
    ADD FOREIGN KEY (line_id) REFERENCES account_move_line ON DELETE CASCADE;
