CREATE TABLE stock_group (id serial PRIMARY KEY, name varchar NOT NULL UNIQUE, moves bigint NOT NULL);
INSERT INTO stock_group (name, moves)
SELECT group_code, count(*) FROM stock_move WHERE group_code IS NOT NULL GROUP BY group_code ORDER BY group_code;
ALTER TABLE stock_move ADD COLUMN group_id integer;
UPDATE stock_move AS m SET group_id = g.id FROM stock_group AS g WHERE g.name = m.group_code;
ALTER TABLE stock_move DROP COLUMN group_code;
