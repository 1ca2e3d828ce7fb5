ALTER TABLE partner ADD COLUMN email_normalized varchar;

UPDATE partner SET email_normalized = lower(trim(email)) WHERE email IS NOT NULL;

ALTER TABLE partner ALTER COLUMN credit TYPE numeric(10, 1) USING round(credit::numeric, 1);

ALTER TABLE partner DROP COLUMN legacy_code;

UPDATE partner
   SET translations = (SELECT jsonb_object_agg(t.key || '_XX', t.value) FROM jsonb_each_text(translations) AS t),
       name = upper(name)
 WHERE created < now();

DELETE FROM partner_tag AS pt USING tag AS t WHERE t.id = pt.tag_id AND t.name = 'tag 3';

DROP TABLE old_queue;
