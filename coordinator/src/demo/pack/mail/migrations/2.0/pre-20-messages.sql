ALTER TABLE mail_message ADD COLUMN is_internal boolean;
-- upshift: label = "messages are internal where their subtype is"
UPDATE mail_message AS m SET is_internal = s.internal FROM mail_message_subtype AS s WHERE s.id = m.subtype_id;
UPDATE mail_message SET is_internal = false WHERE is_internal IS NULL;
UPDATE mail_message SET email_from = lower(email_from) WHERE email_from <> lower(email_from);
