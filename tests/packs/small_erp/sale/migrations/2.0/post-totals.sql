-- upshift: undo = "UPDATE move SET prefix = substr(prefix, 3) WHERE prefix LIKE 'X-%'"
DO $$
BEGIN
    UPDATE move SET prefix = 'X-' || prefix;
END
$$;

UPDATE sale_total SET amount = 0 WHERE amount IS NULL;
