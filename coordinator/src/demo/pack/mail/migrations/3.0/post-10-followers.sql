-- Who wrote about a record follows it.
CREATE TABLE mail_followers (
    id serial PRIMARY KEY,
    res_model varchar NOT NULL,
    res_id integer NOT NULL,
    partner_id integer NOT NULL REFERENCES res_partner ON DELETE CASCADE
);
INSERT INTO mail_followers (res_model, res_id, partner_id)
SELECT model, res_id, min(author_id)
  FROM mail_message
 WHERE model = 'sale.order' AND author_id IS NOT NULL
 GROUP BY model, res_id
 ORDER BY model, res_id;
CREATE UNIQUE INDEX mail_followers_uniq ON mail_followers (res_model, res_id, partner_id);
