CREATE VIEW open_line AS SELECT id, move_id, amount FROM line WHERE state = 'draft';
COMMENT ON VIEW open_line IS 'lines of drafts';
SELECT setval('tag_id_seq', 1000);
