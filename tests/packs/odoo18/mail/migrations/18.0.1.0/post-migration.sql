DELETE FROM mail_notification AS n
 USING mail_message AS m
 WHERE m.id = n.mail_message_id AND n.is_read IS TRUE AND m.message_type = 'user_notification';

CREATE INDEX mail_message_author_name_index ON mail_message (author_name) WHERE author_name IS NOT NULL;

-- upshift: label = "followers for the authors of comments, each once"
INSERT INTO mail_followers (res_model, res_id, partner_id)
SELECT m.model, m.res_id, m.author_id
  FROM mail_message AS m
 WHERE m.message_type = 'comment' AND m.model IS NOT NULL AND m.res_id IS NOT NULL AND m.author_id IS NOT NULL
 GROUP BY m.model, m.res_id, m.author_id
 ORDER BY m.model, m.res_id, m.author_id
    ON CONFLICT DO NOTHING;
