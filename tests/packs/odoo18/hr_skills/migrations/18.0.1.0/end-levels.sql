-- upshift: undo = "UPDATE hr_skill_level SET default_level = NULL WHERE default_level IS FALSE AND id > 0"
DO $$
BEGIN
    UPDATE hr_skill_level SET default_level = FALSE WHERE default_level IS NULL;
END
$$;
