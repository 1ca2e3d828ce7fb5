-- Languages become rows of their own.
CREATE TABLE res_lang (
    id serial PRIMARY KEY,
    code varchar NOT NULL UNIQUE,
    name varchar NOT NULL,
    active boolean NOT NULL DEFAULT true
);

-- upshift: label = "languages that the application brings along"
INSERT INTO res_lang (code, name) VALUES ('de_DE', 'Deutsch'), ('en_US', 'English (US)'), ('fr_FR', 'Français');

ALTER TABLE res_users ADD COLUMN notification_type varchar DEFAULT 'email';
ALTER TABLE res_users ADD CONSTRAINT res_users_notification_type_check CHECK (notification_type IN ('email', 'inbox'));
