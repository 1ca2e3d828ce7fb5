-- One payment for each paid invoice: ids in the order of the invoices.
CREATE TABLE account_payment (
    id serial PRIMARY KEY,
    move_id integer NOT NULL REFERENCES account_move ON DELETE CASCADE,
    partner_id integer,
    amount numeric NOT NULL,
    date date NOT NULL
);
INSERT INTO account_payment (move_id, partner_id, amount, date)
SELECT id, partner_id, amount_total, date FROM account_move WHERE payment_state = 'paid' ORDER BY id;
CREATE INDEX account_payment_move_id_idx ON account_payment (move_id);
