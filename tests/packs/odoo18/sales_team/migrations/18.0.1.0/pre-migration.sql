UPDATE crm_team SET color = COALESCE(color, 0), sequence = COALESCE(sequence, 10);
ALTER TABLE crm_team ALTER COLUMN sequence SET NOT NULL;
