//! A function on texts, applied to each text of a JSON object: Odoo keeps a text in several languages as
//! one value, `{"en_US": "…", "fr_FR": "…"}`.

use super::{
    Function,
    json_paths::{Entries, Node},
};

/// The function for each of the texts. What is no text stays; a text that becomes NULL becomes `null`.
pub(crate) struct Translated(pub(crate) Box<dyn Function>);

impl Function for Translated {
    fn apply(&self, value: Option<&str>) -> Result<Option<String>, String> {
        let Some(value) = value else {
            return Ok(None);
        };
        if !value.trim_start().starts_with('{') {
            return Ok(Some(value.to_owned()));
        }
        let unreadable = |_| "its value is no JSON that can be read".to_owned();
        let entries: Entries<'_> = serde_json::from_str(value).map_err(unreadable)?;
        let mut texts = Vec::with_capacity(entries.0.len());
        let mut changed = false;
        for (key, node) in &entries.0 {
            let old = match node {
                Node::Raw(raw) => raw.get(),
                Node::Object(_) | Node::Array(_) => return Err("it was taken apart".to_owned()),
            };
            let mut text = old.to_owned();
            if old.starts_with('"') {
                let inner: String = serde_json::from_str(old).map_err(unreadable)?;
                let new = self.0.apply(Some(&inner))?;
                if new.as_deref() != Some(&inner) {
                    changed = true;
                    text = serde_json::to_string(&new).map_err(unreadable)?;
                }
            }
            let key = serde_json::to_string(key).map_err(unreadable)?;
            texts.push(format!("{key}: {text}"));
        }
        Ok(Some(match changed {
            true => format!("{{{}}}", texts.join(", ")),
            false => value.to_owned(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::Translated;
    use crate::transform::{Function, testing};

    #[test]
    fn each_text_is_changed() {
        let html = testing::function("text_to_html", &[("line_break", "<br>")]);
        testing::expect(
            &Translated(html),
            &[
                (
                    "{\"en_US\": \"a \\\"b\\\"\", \"n\": 1.0, \"fr_FR\": \"é\"}",
                    "{\"en_US\": \"<p>a &quot;b&quot;</p>\", \"n\": 1.0, \"fr_FR\": \"<p>é</p>\"}",
                ),
                ("{ \"x\":1 }", "{ \"x\":1 }"),
                ("[\"a\"]", "[\"a\"]"),
                ("\"a\"", "\"a\""),
                ("{}", "{}"),
            ],
        );
        let null = [("local", "keep"), ("invalid", "null")];
        let email = Translated(testing::function("email_normalise", &null));
        testing::expect(&email, &[("{\"a\": \"nobody\"}", "{\"a\": null}")]);
        assert_eq!(email.apply(None), Ok(None));
    }
}
