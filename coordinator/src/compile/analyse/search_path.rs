//! What `SET search_path` in a script means for the names after it.

/// The search path at a step: the last `search_path` setting of its file, else the session's.
pub(super) fn of(settings: &[(String, String)], session: &[String]) -> Vec<String> {
    let setting = settings
        .iter()
        .rev()
        .find(|(name, _)| name.eq_ignore_ascii_case("search_path"));
    match setting.map(|(_, value)| value.trim()) {
        None => session.to_vec(),
        Some(value) if value.eq_ignore_ascii_case("default") => session.to_vec(),
        Some(value) => parse(value),
    }
}

/// Names between commas, quoted as identifiers or as strings. `pg_catalog` is searched first unless
/// it is named (PostgreSQL manual, search_path); `"$user"` cannot be known here and is left out.
fn parse(value: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut name = String::new();
    let mut quote = None;
    let mut was_quoted = false;
    let mut finish = |name: &mut String, was_quoted: &mut bool| {
        let text = if *was_quoted {
            name.clone()
        } else {
            name.trim().to_lowercase()
        };
        if !text.is_empty() && text != "$user" {
            names.push(text);
        }
        name.clear();
        *was_quoted = false;
    };
    for c in value.chars() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            (c, Some(_)) => name.push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                was_quoted = true;
                name.clear();
            }
            (',', None) => finish(&mut name, &mut was_quoted),
            (c, None) if was_quoted && c.is_whitespace() => {}
            (c, None) => name.push(c),
        }
    }
    finish(&mut name, &mut was_quoted);
    if !names.iter().any(|name| name == "pg_catalog") {
        names.insert(0, "pg_catalog".to_owned());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_postgresql_does() {
        let session = vec!["pg_catalog".to_owned(), "public".to_owned()];
        let of = |value: &str| of(&[("search_path".to_owned(), value.to_owned())], &session);
        assert_eq!(
            of("Sales, \"My Schema\", 'public'"),
            ["pg_catalog", "sales", "My Schema", "public"]
        );
        assert_eq!(
            of("\"$user\", public, pg_catalog"),
            ["public", "pg_catalog"]
        );
        assert_eq!(of("DEFAULT"), session);
        assert_eq!(of("''"), ["pg_catalog"]);
    }
}
