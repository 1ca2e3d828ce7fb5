-- crm and others put their reports over messages; they come back at the end.
ALTER TABLE mail_message ADD COLUMN author_name character varying;
ALTER TABLE mail_message ADD COLUMN subtype_internal boolean;

UPDATE mail_message AS m
   SET author_name = p.name
  FROM res_partner AS p
 WHERE p.id = m.author_id;

UPDATE mail_message AS m
   SET subtype_internal = COALESCE(st.internal, FALSE),
       reply_to_force_new = COALESCE(mm.reply_to_force_new, parent.reply_to_force_new, FALSE)
  FROM mail_message AS mm
  LEFT JOIN mail_message_subtype AS st ON st.id = mm.subtype_id
  LEFT JOIN mail_message AS parent ON parent.id = mm.parent_id AND parent.author_name IS NOT NULL
 WHERE mm.id = m.id;

UPDATE mail_tracking_value AS v
   SET field_info = jsonb_build_object(
         'desc', f.field_description ->> 'en_US', 'name', f.name, 'sequence', 100, 'type', f.ttype)
  FROM ir_model_fields AS f
 WHERE f.id = v.field_id AND v.field_info IS NULL;

ALTER TABLE mail_message DROP COLUMN email_add_signature;

ALTER TABLE message_attachment_rel RENAME TO mail_message_ir_attachment_rel;
ALTER TABLE mail_message_ir_attachment_rel RENAME COLUMN attachment_id TO ir_attachment_id;

DROP TABLE mail_message_schedule;

ALTER TABLE mail_message ALTER COLUMN record_name TYPE text;
ALTER TABLE mail_message ALTER COLUMN subtype_internal SET DEFAULT FALSE;
ALTER TABLE mail_message ALTER COLUMN subtype_internal SET NOT NULL;
