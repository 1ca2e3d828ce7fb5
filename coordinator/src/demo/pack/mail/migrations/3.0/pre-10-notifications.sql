-- upshift: label = "old notifications that were read"
DELETE FROM mail_notification AS n
 USING mail_message AS m
 WHERE m.id = n.mail_message_id AND n.is_read AND m.date < timestamp '2019-06-01';
ALTER TABLE mail_notification RENAME COLUMN is_read TO has_been_read;
CREATE INDEX mail_notification_unread_idx ON mail_notification (res_partner_id) WHERE has_been_read IS NOT TRUE;
