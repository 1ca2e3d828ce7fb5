-- An account belongs to several companies now: a many2one becomes a many2many.
CREATE TABLE account_account_res_company_rel (
    account_account_id integer NOT NULL REFERENCES account_account (id) ON DELETE CASCADE,
    res_company_id integer NOT NULL REFERENCES res_company (id) ON DELETE CASCADE,
    PRIMARY KEY (account_account_id, res_company_id)
);
COMMENT ON TABLE account_account_res_company_rel IS 'RELATION BETWEEN account_account AND res_company';

INSERT INTO account_account_res_company_rel (account_account_id, res_company_id)
SELECT id, company_id FROM account_account;

CREATE INDEX account_account_res_company_rel_res_company_id_idx
    ON account_account_res_company_rel (res_company_id, account_account_id);

-- Its code, too, is one for each company.
ALTER TABLE account_account ADD COLUMN code_store jsonb;
UPDATE account_account SET code_store = jsonb_build_object(company_id::text, code);

-- The view reads code and company; the class that had it is gone.
DROP VIEW account_root;
ALTER TABLE account_account DROP COLUMN company_id;
ALTER TABLE account_account DROP COLUMN code;
ALTER TABLE account_account DROP COLUMN root_id;
CREATE INDEX account_account_code_store_index ON account_account USING gin (code_store);
