CREATE TABLE account_move_line_new (LIKE account_move_line INCLUDING DEFAULTS INCLUDING STORAGE);
