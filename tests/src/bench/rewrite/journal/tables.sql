-- The journal of an ERP: entries, and six lines of each. {rows} lines; of {wide} in a hundred of them
-- `narration` holds about 4 kB that do not compress, the others have none.
CREATE TABLE installed_module (name text PRIMARY KEY, version text NOT NULL);
INSERT INTO installed_module VALUES ('account', '1.0');

CREATE TABLE account_move (
    id serial PRIMARY KEY,
    name varchar NOT NULL,
    move_type varchar NOT NULL,
    state varchar NOT NULL,
    journal_id integer NOT NULL,
    date date NOT NULL
);
INSERT INTO account_move (name, move_type, state, journal_id, date)
SELECT 'MISC/' || i, (ARRAY['entry', 'out_invoice', 'in_invoice', 'out_refund'])[1 + i % 4],
       (ARRAY['posted', 'posted', 'posted', 'draft', 'posted', 'cancel'])[1 + i % 6], 1 + i % 10,
       date '2016-01-01' + (i * 3650::bigint / (1 + {rows} / 6))::integer
  FROM generate_series(1, 1 + {rows} / 6) AS i;

CREATE TABLE account_move_line (
    id serial,
    move_id integer NOT NULL,
    company_id integer NOT NULL,
    journal_id integer NOT NULL,
    account_id integer NOT NULL,
    partner_id integer,
    product_id integer,
    name varchar,
    ref varchar,
    move_type varchar,
    parent_state varchar,
    display_type varchar NOT NULL DEFAULT 'product',
    date date NOT NULL,
    date_maturity date,
    debit numeric NOT NULL DEFAULT 0,
    credit numeric NOT NULL DEFAULT 0,
    balance numeric,
    amount_currency numeric,
    amount_residual numeric,
    reconciled boolean,
    narration text,
    create_date timestamp,
    write_date timestamp
);
WITH texts AS MATERIALIZED (
    SELECT t, (SELECT string_agg(md5(t || '/' || n), '') FROM generate_series(1, 125) AS n) AS text
      FROM generate_series(0, 99) AS t
)
INSERT INTO account_move_line (move_id, company_id, journal_id, account_id, partner_id, product_id, name, ref,
       display_type, date, date_maturity, debit, credit, amount_residual, reconciled, narration, create_date,
       write_date)
SELECT m.id, 1, m.journal_id, 1 + i * 31::bigint % 400, CASE WHEN i % 6 < 5 THEN 1 + i * 7919::bigint % 30000 END,
       CASE WHEN i % 3 = 0 THEN 1 + i * 31337::bigint % 2000 END, 'Product ' || i % 2000, 'REF/' || i / 4,
       (ARRAY['product', 'product', 'product', 'product', 'tax', 'payment_term'])[1 + i % 6], m.date,
       CASE WHEN i % 6 = 5 THEN m.date + 30 END, CASE WHEN i % 2 = 0 THEN a ELSE 0 END,
       CASE WHEN i % 2 = 1 THEN a ELSE 0 END, CASE WHEN i % 6 = 5 THEN a ELSE 0 END, i % 5 = 0, t.text || i,
       m.date + time '08:00', m.date + time '09:00'
  FROM generate_series(0, {rows} - 1) AS i
  CROSS JOIN LATERAL (SELECT round(10 + i * 7919::bigint % 49000 / 100.0, 2) AS a) AS amount
  JOIN account_move AS m ON m.id = 1 + i / 6
  -- Which lines are wide is scattered: a share of each page.
  LEFT JOIN texts AS t ON t.t = i % 100 AND i * 37::bigint % 100 < {wide}
 ORDER BY i;

ALTER TABLE account_move_line ADD CONSTRAINT account_move_line_pkey PRIMARY KEY (id);
CREATE INDEX account_move_line_move_id_idx ON account_move_line (move_id);
CREATE INDEX account_move_line_journal_id_idx ON account_move_line (journal_id);
CREATE INDEX account_move_line_account_id_date_idx ON account_move_line (account_id, date);
CREATE INDEX account_move_line_partner_id_ref_idx ON account_move_line (partner_id, ref);
CREATE INDEX account_move_line_date_maturity_idx ON account_move_line (date_maturity);
ALTER TABLE account_move_line ADD CONSTRAINT account_move_line_move_id_fkey
    FOREIGN KEY (move_id) REFERENCES account_move (id) ON DELETE CASCADE;
