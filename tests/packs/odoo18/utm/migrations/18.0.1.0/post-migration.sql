-- Records of the module's data, under the ids that its XML ids will name.
INSERT INTO utm_tag (id, name, color, create_uid, write_uid, create_date, write_date)
VALUES (1001, '{"en_US": "Upgrade"}', 1, 1, 1, '2024-10-01 00:00:00', '2024-10-01 00:00:00'),
       (1002, '{"en_US": "Odoo 18"}', 2, 1, 1, '2024-10-01 00:00:00', '2024-10-01 00:00:00');

SELECT setval('utm_tag_id_seq', 1002);
