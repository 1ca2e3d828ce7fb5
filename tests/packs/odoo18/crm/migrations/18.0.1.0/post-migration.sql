-- upshift: label = "a note on every lead whose mobile number was merged"
INSERT INTO mail_message (model, res_id, record_name, message_type, subtype_internal, body, author_id, date,
                          create_uid, write_uid, create_date, write_date)
SELECT 'crm.lead', l.id, l.name, 'notification', TRUE, '<p>status: ' || l.won_status || '</p>', u.partner_id,
       l.create_date, 1, 1, l.create_date, l.write_date
  FROM crm_lead AS l
  LEFT JOIN res_users AS u ON u.id = l.user_id
 WHERE l.won_status IN ('won', 'lost')
 ORDER BY l.id DESC;
