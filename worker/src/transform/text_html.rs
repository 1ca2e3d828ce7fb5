//! `text_to_html`: plain text as HTML: paragraphs where an empty line stands, line breaks elsewhere.
//!
//! Text that is HTML already is escaped as any other: a step's `where` says what is plain text.

use upshift_shared::transform::Call;

use super::{Function, text};

pub(super) struct TextToHtml {
    line_break: String,
}

impl TextToHtml {
    pub(super) fn new(call: &Call) -> Result<Self, String> {
        Ok(Self {
            line_break: text(call, "line_break")?.to_owned(),
        })
    }
}

impl Function for TextToHtml {
    fn apply(&self, value: Option<&str>) -> Result<Option<String>, String> {
        Ok(value.map(|value| self.html(value)))
    }
}

impl TextToHtml {
    fn html(&self, value: &str) -> String {
        let mut html = String::with_capacity(value.len() + value.len() / 8 + 16);
        let mut open = false;
        for line in value.lines() {
            let line = line.trim_end();
            if line.is_empty() {
                if std::mem::take(&mut open) {
                    html.push_str("</p>");
                }
                continue;
            }
            html.push_str(if open { &self.line_break } else { "<p>" });
            open = true;
            escape(line, &mut html);
        }
        if open {
            html.push_str("</p>");
        }
        html
    }
}

fn escape(text: &str, html: &mut String) {
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::transform::testing::{expect, function};

    #[test]
    fn text_becomes_html() {
        let html = function("text_to_html", &[("line_break", "<br>")]);
        expect(
            &*html,
            &[
                ("", ""),
                (" \n\n", ""),
                ("one", "<p>one</p>"),
                ("one\ntwo\r\nthree", "<p>one<br>two<br>three</p>"),
                ("one\n\n\ntwo\n", "<p>one</p><p>two</p>"),
                ("a < b & \"c\"", "<p>a &lt; b &amp; &quot;c&quot;</p>"),
                ("<b>it's</b>", "<p>&lt;b&gt;it&#39;s&lt;/b&gt;</p>"),
                ("Größe 漢字", "<p>Größe 漢字</p>"),
            ],
        );
        assert_eq!(html.apply(None), Ok(None));
        let other = function("text_to_html", &[("line_break", "<br/>")]);
        expect(&*other, &[("a\nb", "<p>a<br/>b</p>")]);
    }
}
