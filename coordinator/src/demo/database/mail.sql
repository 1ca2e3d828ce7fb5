-- upshift demo: module mail
CREATE TABLE mail_message_subtype (id serial PRIMARY KEY, name text NOT NULL, internal boolean NOT NULL, res_model varchar);
INSERT INTO mail_message_subtype (name, internal, res_model) VALUES
    ('Discussions', false, NULL), ('Note', true, NULL), ('Activities', true, NULL),
    ('Invoice validated', false, 'account.move'), ('Order confirmed', false, 'sale.order');

CREATE TABLE mail_message (
    id serial PRIMARY KEY,
    parent_id integer,
    author_id integer,
    subtype_id integer,
    subject varchar,
    body text,
    model varchar,
    res_id integer,
    message_type varchar NOT NULL,
    email_from varchar,
    date timestamp
);
INSERT INTO mail_message (parent_id, author_id, subtype_id, subject, body, model, res_id, message_type, email_from, date)
SELECT CASE WHEN i % 4 <> 0 THEN i - i % 4 END, 1 + (i::bigint * 13 % partners), CASE WHEN i % 10 <> 0 THEN 1 + i % 5 END,
       CASE WHEN i % 5 = 0 THEN 'Subject ' || i END, '<p>Message ' || i || ' says something of usual length.</p>',
       (ARRAY['account.move', 'sale.order', 'stock.picking', 'res.partner'])[1 + i % 4], 1 + i / 5,
       (ARRAY['notification', 'comment', 'email', 'notification'])[1 + i % 4],
       'Contact' || i % 1000 || '@Example.com', timestamp '2019-02-01' + i * interval '4 minutes'
  FROM generate_series(4, greatest(103, current_setting('demo.rows')::integer / 2)) AS i,
       (SELECT count(*)::integer AS partners FROM res_partner) AS size
 ORDER BY i;
UPDATE mail_message SET parent_id = NULL WHERE parent_id < 4 OR parent_id NOT IN (SELECT id FROM mail_message);
ALTER TABLE mail_message
    ADD CONSTRAINT mail_message_parent_id_fkey FOREIGN KEY (parent_id) REFERENCES mail_message ON DELETE SET NULL,
    ADD CONSTRAINT mail_message_author_id_fkey FOREIGN KEY (author_id) REFERENCES res_partner ON DELETE SET NULL,
    ADD CONSTRAINT mail_message_subtype_id_fkey FOREIGN KEY (subtype_id) REFERENCES mail_message_subtype ON DELETE SET NULL;
CREATE INDEX mail_message_model_res_id_idx ON mail_message (model, res_id);
CREATE INDEX mail_message_parent_id_idx ON mail_message (parent_id);
CREATE INDEX mail_message_author_id_idx ON mail_message (author_id);

CREATE TABLE mail_notification (
    id serial PRIMARY KEY,
    mail_message_id integer NOT NULL,
    res_partner_id integer,
    notification_status varchar,
    is_read boolean
);
INSERT INTO mail_notification (mail_message_id, res_partner_id, notification_status, is_read)
SELECT id, author_id, (ARRAY['sent', 'ready', 'bounce'])[1 + id % 3], id % 4 <> 0
  FROM mail_message WHERE id % 3 = 0 ORDER BY id;
ALTER TABLE mail_notification
    ADD CONSTRAINT mail_notification_mail_message_id_fkey FOREIGN KEY (mail_message_id) REFERENCES mail_message ON DELETE CASCADE;
CREATE UNIQUE INDEX mail_notification_uniq ON mail_notification (mail_message_id, res_partner_id);

CREATE TABLE mail_tracking_value (
    id serial PRIMARY KEY,
    mail_message_id integer NOT NULL,
    field varchar NOT NULL,
    old_value_char varchar,
    new_value_char varchar
);
INSERT INTO mail_tracking_value (mail_message_id, field, old_value_char, new_value_char)
SELECT id, (ARRAY['state', 'partner_id', 'amount_total', 'user_id', 'date_order'])[1 + id % 5],
       'old ' || id % 17, 'new ' || id % 19
  FROM mail_message WHERE id % 2 = 0 ORDER BY id;
ALTER TABLE mail_tracking_value
    ADD CONSTRAINT mail_tracking_value_mail_message_id_fkey FOREIGN KEY (mail_message_id) REFERENCES mail_message ON DELETE CASCADE;
CREATE INDEX mail_tracking_value_mail_message_id_idx ON mail_tracking_value (mail_message_id);

-- Part of the privileges that a rollback has to bring back.
GRANT SELECT ON mail_message, mail_message_subtype TO PUBLIC;
GRANT SELECT (id, name, email) ON res_partner TO PUBLIC;
COMMENT ON TABLE mail_tracking_value IS 'What changed, field by field';
COMMENT ON COLUMN mail_tracking_value.field IS 'Name of the field';
