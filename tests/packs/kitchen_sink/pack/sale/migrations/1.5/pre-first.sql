ALTER TABLE journal RENAME TO account_journal;
ALTER TABLE account_journal ADD COLUMN active boolean DEFAULT true;
ALTER TABLE account_journal ALTER COLUMN kind SET DEFAULT 'sale', ALTER COLUMN kind SET NOT NULL;
