//! `html_to_text`: what a reader of the HTML sees, as lines of text. Tokens come from a tokenizer that
//! follows the HTML standard, so that character references, broken tags and script are what browsers
//! take them for.

use html5gum::{DefaultEmitter, StartTag, Token, Tokenizer};
use upshift_shared::transform::Call;

use super::{Function, text};

/// A line of its own.
const BLOCKS: &[&str] = &[
    "address",
    "article",
    "aside",
    "body",
    "caption",
    "dd",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "header",
    "hr",
    "html",
    "legend",
    "li",
    "main",
    "nav",
    "option",
    "section",
    "table",
    "tbody",
    "tfoot",
    "thead",
    "tr",
];
/// An empty line before and after it.
const PARAGRAPHS: &[&str] = &[
    "blockquote",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "ol",
    "p",
    "pre",
    "ul",
];
/// Not shown.
const HIDDEN: &[&str] = &["head", "script", "style", "template", "title"];

pub(super) struct HtmlToText {
    links: bool,
}

impl HtmlToText {
    pub(super) fn new(call: &Call) -> Result<Self, String> {
        Ok(Self {
            links: text(call, "links")? == "keep",
        })
    }
}

impl Function for HtmlToText {
    fn apply(&self, value: Option<&str>) -> Result<Option<String>, String> {
        let Some(value) = value else {
            return Ok(None);
        };
        let mut writer = Writer {
            links: self.links,
            ..Writer::default()
        };
        let mut emitter = DefaultEmitter::<()>::new_with_span();
        emitter.naively_switch_states(true);
        for token in Tokenizer::new_with_emitter(value, emitter) {
            let Ok(token) = token;
            writer.token(token);
        }
        Ok(Some(writer.finish()))
    }
}

/// Lays the text out.
#[derive(Default)]
struct Writer {
    links: bool,
    out: String,
    /// Line ends that are due before the next text: 1 for a new line, 2 for an empty one.
    due: usize,
    space: bool,
    /// Nothing stands behind the last bullet yet: what is in it begins on its line.
    bullet: bool,
    /// How deep in `pre`.
    verbatim: usize,
    /// The element whose content is not shown, and how deep in it.
    hidden: Option<(Vec<u8>, usize)>,
    /// Where the open link's text begins, and where it leads.
    link: Option<(usize, String)>,
}

impl Writer {
    fn token(&mut self, token: Token) {
        match token {
            Token::StartTag(tag) => self.start(&tag),
            Token::EndTag(tag) => self.end(&tag.name),
            Token::String(text) if self.hidden.is_none() => {
                self.text(&String::from_utf8_lossy(&text.value));
            }
            _ => {}
        }
    }

    fn start(&mut self, tag: &StartTag<()>) {
        let name: &[u8] = &tag.name;
        if let Some((hidden, depth)) = &mut self.hidden {
            *depth += usize::from(hidden == name);
            return;
        }
        if is_one(name, HIDDEN) {
            if !tag.self_closing {
                self.hidden = Some((name.to_vec(), 1));
            }
            return;
        }
        match name {
            b"br" => self.line_end(),
            b"td" | b"th" => self.space = true,
            b"pre" => self.verbatim += 1,
            b"a" => {
                let target = tag.attributes.get(&b"href"[..]);
                let target = target.map(|value| String::from_utf8_lossy(value).trim().to_owned());
                self.link = target.map(|target| (self.out.len(), target));
            }
            _ => {}
        }
        self.apart(name);
        if name == b"li" {
            self.text("- ");
            self.bullet = true;
        }
    }

    fn end(&mut self, name: &[u8]) {
        if let Some((hidden, depth)) = &mut self.hidden {
            *depth -= usize::from(hidden == name);
            if *depth == 0 {
                self.hidden = None;
            }
            return;
        }
        match name {
            b"pre" => self.verbatim = self.verbatim.saturating_sub(1),
            b"a" => self.link_end(),
            b"li" => self.bullet = false,
            _ => {}
        }
        self.apart(name);
    }

    /// The line ends around an element.
    fn apart(&mut self, name: &[u8]) {
        if self.bullet {
            return;
        }
        if is_one(name, PARAGRAPHS) {
            self.due = self.due.max(2);
        } else if is_one(name, BLOCKS) {
            self.due = self.due.max(1);
        }
    }

    fn line_end(&mut self) {
        // After a text, it ends its line; after that, it leaves an empty one.
        self.due = (self.due + 1).min(2);
    }

    fn link_end(&mut self) {
        let Some((begin, target)) = self.link.take() else {
            return;
        };
        let shown = self.out.get(begin..).unwrap_or_default().trim();
        let leads = !target.is_empty() && !target.starts_with('#') && shown != target;
        if self.links && leads {
            let target = format!(" ({target})");
            self.text(&target);
        }
    }

    fn text(&mut self, text: &str) {
        if self.verbatim > 0 {
            self.gap();
            self.out.push_str(text);
            return;
        }
        for (number, word) in text.split(is_space).enumerate() {
            self.space |= number > 0;
            if !word.is_empty() {
                self.gap();
                self.out.push_str(word);
            }
        }
    }

    /// What is due between the last text and the next.
    fn gap(&mut self) {
        self.bullet = false;
        let (due, space) = (
            std::mem::take(&mut self.due),
            std::mem::take(&mut self.space),
        );
        if self.out.is_empty() {
            return;
        }
        if due > 0 {
            let kept = self.out.trim_end_matches(' ').len();
            self.out.truncate(kept);
            for _ in 0..due {
                self.out.push('\n');
            }
        } else if space && !self.out.ends_with([' ', '\n']) {
            self.out.push(' ');
        }
    }

    fn finish(mut self) -> String {
        let kept = self.out.trim_end().len();
        self.out.truncate(kept);
        self.out
    }
}

/// White space as HTML has it: a no-break space is none.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}')
}

fn is_one(name: &[u8], of: &[&str]) -> bool {
    of.iter().any(|one| one.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use crate::transform::testing::{expect, function};

    #[test]
    fn html_becomes_text() {
        let text = function("html_to_text", &[("links", "drop")]);
        expect(
            &*text,
            &[
                ("", ""),
                ("plain", "plain"),
                ("<p>one</p><p>two</p>", "one\n\ntwo"),
                ("one<br>two<br/>three", "one\ntwo\nthree"),
                ("one<br><br>two", "one\n\ntwo"),
                ("<div>a</div><div>b</div>", "a\nb"),
                ("<div>a</div> <p>b</p>\n", "a\n\nb"),
                ("a  \n  <b>bold</b>, c", "a bold, c"),
                ("<ul><li>x</li><li>y</li></ul>z", "- x\n- y\n\nz"),
                (
                    "<ul><li><p>x</p></li><li></li><li>y</li></ul>",
                    "- x\n\n-\n- y",
                ),
                ("&lt;b&gt; &amp; caf&eacute; &#8364;", "<b> & café €"),
                ("a<script>var x = '<p>';</script>b", "ab"),
                ("<style>p { a: b }</style><p>c</p>", "c"),
                ("<head><title>t</title></head><body>b</body>", "b"),
                ("<tr><td>1</td><td>2</td></tr><tr><td>3</td></tr>", "1 2\n3"),
                ("x<pre>  a\n    b</pre>y", "x\n\n  a\n    b\n\ny"),
                ("1 < 2 <3", "1 < 2 <3"),
                ("<p>not closed", "not closed"),
                ("<!-- comment -->a", "a"),
                ("<a href='https://x.y'>here</a>!", "here!"),
                ("a&nbsp;b", "a\u{a0}b"),
            ],
        );
        assert_eq!(text.apply(None), Ok(None));
    }

    #[test]
    fn links_are_kept_where_asked_for() {
        let text = function("html_to_text", &[("links", "keep")]);
        expect(
            &*text,
            &[
                ("<a href='https://x.y'>here</a>!", "here (https://x.y)!"),
                ("<a href='https://x.y'>https://x.y</a>", "https://x.y"),
                ("<a href='#top'>up</a> <a>none</a>", "up none"),
            ],
        );
    }
}
