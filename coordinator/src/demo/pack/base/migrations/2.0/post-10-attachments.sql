ALTER TABLE ir_attachment ADD COLUMN is_image boolean;
UPDATE ir_attachment SET is_image = mimetype LIKE 'image/%';
CREATE INDEX ir_attachment_image_idx ON ir_attachment (id) WHERE is_image;
