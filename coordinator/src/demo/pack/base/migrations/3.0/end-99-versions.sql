-- The application's own note of what is installed.
UPDATE installed_module SET version = '3.0';
