//! `bootstrap_4_to_5`: the classes and data attributes that Bootstrap 5 renamed (its migration guide,
//! v5.0). Only words of `class` attributes and names of attributes change; all else stays byte for
//! byte, which is why the tokenizer tells only where attributes stand.
//!
//! What needs another structure has no rename, and is left alone: `close`, `input-group-append`,
//! `custom-file-label`, `jumbotron`, `card-deck`, `card-columns`.

use html5gum::{DefaultEmitter, StartTag, Token, Tokenizer};

use super::Function;

/// Words with one counterpart. An empty one is dropped: what it did, another class does.
const WORDS: &[(&str, &str)] = &[
    ("badge-pill", "rounded-pill"),
    ("border-left", "border-start"),
    ("border-left-0", "border-start-0"),
    ("border-right", "border-end"),
    ("border-right-0", "border-end-0"),
    ("bs-popover-left", "bs-popover-start"),
    ("bs-popover-right", "bs-popover-end"),
    ("bs-tooltip-left", "bs-tooltip-start"),
    ("bs-tooltip-right", "bs-tooltip-end"),
    ("btn-block", "w-100"),
    ("carousel-item-left", "carousel-item-start"),
    ("carousel-item-right", "carousel-item-end"),
    ("custom-checkbox", ""),
    ("custom-control", "form-check"),
    ("custom-control-inline", "form-check-inline"),
    ("custom-control-input", "form-check-input"),
    ("custom-control-label", "form-check-label"),
    ("custom-file-input", "form-control"),
    ("custom-radio", ""),
    ("custom-range", "form-range"),
    ("custom-select", "form-select"),
    ("custom-select-lg", "form-select-lg"),
    ("custom-select-sm", "form-select-sm"),
    ("custom-switch", "form-switch"),
    ("dropleft", "dropstart"),
    ("dropright", "dropend"),
    ("embed-responsive", "ratio"),
    ("embed-responsive-16by9", "ratio-16x9"),
    ("embed-responsive-1by1", "ratio-1x1"),
    ("embed-responsive-21by9", "ratio-21x9"),
    ("embed-responsive-4by3", "ratio-4x3"),
    ("embed-responsive-item", ""),
    ("font-italic", "fst-italic"),
    ("font-weight-bold", "fw-bold"),
    ("font-weight-bolder", "fw-bolder"),
    ("font-weight-light", "fw-light"),
    ("font-weight-lighter", "fw-lighter"),
    ("font-weight-normal", "fw-normal"),
    ("form-control-file", "form-control"),
    ("form-group", "mb-3"),
    ("form-row", "row"),
    ("media", "d-flex"),
    ("media-body", "flex-grow-1"),
    ("no-gutters", "g-0"),
    ("rounded-left", "rounded-start"),
    ("rounded-lg", "rounded-3"),
    ("rounded-right", "rounded-end"),
    ("rounded-sm", "rounded-1"),
    ("sr-only", "visually-hidden"),
    ("sr-only-focusable", "visually-hidden-focusable"),
    ("text-monospace", "font-monospace"),
    ("thead-dark", "table-dark"),
    ("thead-light", "table-light"),
];
/// `ml-3`, `ml-lg-auto`, `ml-n2`.
const SPACERS: &[(&str, &str)] = &[
    ("ml-", "ms-"),
    ("mr-", "me-"),
    ("pl-", "ps-"),
    ("pr-", "pe-"),
];
/// `float-left`, `float-lg-left`.
const SIDES: &[&str] = &["dropdown-menu-", "float-", "text-"];
const COLOURS: &[&str] = &[
    "danger",
    "dark",
    "info",
    "light",
    "primary",
    "secondary",
    "success",
    "warning",
];
/// Attributes that make an element Bootstrap's own, with the values that do.
const TRIGGERS: &[(&str, &[&str])] = &[
    (
        "data-toggle",
        &[
            "button", "buttons", "collapse", "dropdown", "list", "modal", "pill", "popover", "tab",
            "tooltip",
        ],
    ),
    ("data-dismiss", &["alert", "modal", "toast"]),
    ("data-ride", &["carousel"]),
    ("data-slide", &["next", "prev"]),
    ("data-slide-to", &[]),
    ("data-spy", &["scroll", "affix"]),
];
/// What follows `data-` in the attributes of such an element.
const OPTIONS: &[&str] = &[
    "animation",
    "autohide",
    "backdrop",
    "boundary",
    "container",
    "content",
    "delay",
    "dismiss",
    "display",
    "flip",
    "focus",
    "html",
    "interval",
    "keyboard",
    "method",
    "offset",
    "original-title",
    "parent",
    "pause",
    "placement",
    "reference",
    "ride",
    "sanitize",
    "selector",
    "show",
    "slide",
    "slide-to",
    "spy",
    "target",
    "template",
    "title",
    "toggle",
    "touch",
    "trigger",
    "wrap",
];

pub(super) struct Bootstrap4To5;

impl Function for Bootstrap4To5 {
    fn apply(&self, value: Option<&str>) -> Result<Option<String>, String> {
        Ok(value.map(|value| renamed(value).unwrap_or_else(|| value.to_owned())))
    }
}

/// A piece of the text and what replaces it.
type Edit = (std::ops::Range<usize>, String);

/// `None` where there is nothing to rename.
fn renamed(html: &str) -> Option<String> {
    let mut emitter = DefaultEmitter::<usize>::new_with_span();
    emitter.naively_switch_states(true);
    let mut edits: Vec<Edit> = Vec::new();
    for token in Tokenizer::new_with_emitter(html, emitter) {
        let Ok(token) = token;
        if let Token::StartTag(tag) = token {
            edits.extend(of_tag(html, &tag));
        }
    }
    if edits.is_empty() {
        return None;
    }
    // The tokenizer gives the attributes of a tag by name.
    edits.sort_unstable_by_key(|(range, _)| range.start);
    let mut changed = String::with_capacity(html.len() + 64);
    let mut position = 0;
    for (range, text) in edits {
        changed.push_str(html.get(position..range.start)?);
        changed.push_str(&text);
        position = range.end;
    }
    changed.push_str(html.get(position..)?);
    Some(changed)
}

fn of_tag(html: &str, tag: &StartTag<usize>) -> Vec<Edit> {
    let mut edits = Vec::new();
    let has = |name: &str, value: &dyn Fn(&str) -> bool| {
        let found = tag.attributes.get(name.as_bytes());
        found.is_some_and(|found| std::str::from_utf8(found).is_ok_and(value))
    };
    // Asked only where it matters: most tags have no such attribute.
    let triggers = || {
        TRIGGERS
            .iter()
            .any(|(name, values)| has(name, &|v| values.is_empty() || values.contains(&v.trim())))
    };
    let collapses = || has("class", &|v| v.split_whitespace().any(|w| w == "collapse"));
    for (name, attribute) in &tag.attributes {
        let Ok(name) = std::str::from_utf8(name) else {
            continue;
        };
        let start = attribute.span.start;
        let named = html.get(start..start + name.len());
        if !named.is_some_and(|named| named.eq_ignore_ascii_case(name)) {
            // The tokenizer read another name than stands there: a NUL character.
            continue;
        }
        let end = start + name.len();
        if name == "class" {
            edits.extend(value_at(html, end).and_then(|range| class(html, range)));
        } else if let Some(option) = name.strip_prefix("data-")
            && OPTIONS.contains(&option)
            && (triggers() || (option == "parent" && collapses()))
            && !tag
                .attributes
                .contains_key(format!("data-bs-{option}").as_bytes())
        {
            edits.push((start..end, format!("data-bs-{option}")));
        }
    }
    edits
}

/// Where the value of an attribute stands, its name ending at `end`: without its quotes.
fn value_at(html: &str, end: usize) -> Option<std::ops::Range<usize>> {
    let space = |c: char| c.is_ascii_whitespace();
    let rest = html.get(end..)?;
    let rest = rest.trim_start_matches(space).strip_prefix('=')?;
    let rest = rest.trim_start_matches(space);
    let start = html.len() - rest.len();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
    match quote {
        Some(quote) => {
            let length = rest[1..].find(quote)?;
            Some(start + 1..start + 1 + length)
        }
        None => {
            let length = rest.find(|c: char| space(c) || c == '>')?;
            Some(start..start + length)
        }
    }
}

/// The words of a class attribute; `None` where none is renamed.
fn class(html: &str, range: std::ops::Range<usize>) -> Option<Edit> {
    let value = html.get(range.clone())?;
    let words: Vec<(&str, Option<String>)> = value
        .split_ascii_whitespace()
        .map(|word| (word, renamed_word(word)))
        .collect();
    if words.iter().all(|(_, new)| new.is_none()) {
        return None;
    }
    let mut kept: Vec<&str> = Vec::with_capacity(words.len());
    for (word, new) in &words {
        match new.as_deref() {
            None => kept.push(word),
            // `form-check` may stand there already, or come from two words.
            Some(new) if !new.is_empty() && !kept.contains(&new) => kept.push(new),
            Some(_) => {}
        }
    }
    if kept.is_empty() && !html[..range.start].ends_with(['"', '\'']) {
        return None;
    }
    Some((range, kept.join(" ")))
}

fn renamed_word(word: &str) -> Option<String> {
    if let Ok(place) = WORDS.binary_search_by_key(&word, |(old, _)| old) {
        return Some(WORDS[place].1.to_owned());
    }
    if let Some(colour) = word.strip_prefix("badge-") {
        return COLOURS.contains(&colour).then(|| format!("bg-{colour}"));
    }
    if let Some((old, new)) = SPACERS.iter().find(|(old, _)| word.starts_with(old)) {
        let rest = &word[old.len()..];
        return is_size(without_breakpoint(rest)).then(|| format!("{new}{rest}"));
    }
    let base = SIDES.iter().find(|base| word.starts_with(**base))?;
    let rest = &word[base.len()..];
    let side = without_breakpoint(rest);
    let new = match side {
        "left" => "start",
        "right" => "end",
        _ => return None,
    };
    let breakpoint = &rest[..rest.len() - side.len()];
    Some(format!("{base}{breakpoint}{new}"))
}

fn without_breakpoint(rest: &str) -> &str {
    let stripped = ["sm-", "md-", "lg-", "xl-"]
        .iter()
        .find_map(|breakpoint| rest.strip_prefix(breakpoint));
    stripped.unwrap_or(rest)
}

/// `3`, `n3`, `auto`.
fn is_size(text: &str) -> bool {
    let digits = text.strip_prefix('n').unwrap_or(text);
    text == "auto" || (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transform::testing::expect;

    #[test]
    fn words_are_sorted() {
        assert!(WORDS.is_sorted_by_key(|(old, _)| old));
    }

    #[test]
    fn classes_are_renamed() {
        let table = [
            ("ml-3 pr-lg-auto mr-n2", "ms-3 pe-lg-auto me-n2"),
            ("float-left text-md-right", "float-start text-md-end"),
            ("badge badge-pill badge-info", "badge rounded-pill bg-info"),
            ("sr-only no-gutters", "visually-hidden g-0"),
            (
                "dropdown-menu-right dropleft",
                "dropdown-menu-end dropstart",
            ),
            ("custom-control custom-checkbox", "form-check"),
            ("embed-responsive-item", ""),
            // Words that only look alike.
            (
                "ml-foo mlx-3 text-lefty badge-own",
                "ml-foo mlx-3 text-lefty badge-own",
            ),
            ("o_ml-3 float-none", "o_ml-3 float-none"),
        ];
        for (old, new) in table {
            let html = |class: &str| format!("<p id=x class=\"{class}\">ml-3</p>");
            expect(&Bootstrap4To5, &[(&html(old), &html(new))]);
        }
    }

    #[test]
    fn the_rest_stays_byte_for_byte() {
        expect(
            &Bootstrap4To5,
            &[
                ("", ""),
                ("ml-3 <b>float-left</b>", "ml-3 <b>float-left</b>"),
                (
                    "<P\r\n CLASS = 'ml-1'  x>é&amp;",
                    "<P\r\n CLASS = 'ms-1'  x>é&amp;",
                ),
                ("<p class=ml-1>", "<p class=ms-1>"),
                (
                    "<p class=embed-responsive-item>",
                    "<p class=embed-responsive-item>",
                ),
                (
                    "é<p title=\"ml-1\" class=\"ml-1\"/>",
                    "é<p title=\"ml-1\" class=\"ms-1\"/>",
                ),
                ("<!-- <p class=\"ml-1\"> -->", "<!-- <p class=\"ml-1\"> -->"),
                (
                    "<script>'<p class=\"ml-1\">'</script>",
                    "<script>'<p class=\"ml-1\">'</script>",
                ),
                ("<p class=\"ml-1", "<p class=\"ml-1"),
                ("<p class>", "<p class>"),
                ("<p class=\"a\n  b\">", "<p class=\"a\n  b\">"),
                (
                    "<p a=1 class=\"ml-1\" b=2><i class='mr-2'>",
                    "<p a=1 class=\"ms-1\" b=2><i class='me-2'>",
                ),
            ],
        );
        assert_eq!(Bootstrap4To5.apply(None), Ok(None));
    }

    #[test]
    fn attributes_of_bootstraps_elements_are_renamed() {
        expect(
            &Bootstrap4To5,
            &[
                (
                    "<a data-toggle=\"collapse\" data-target=\"#x\" data-own=\"1\">",
                    "<a data-bs-toggle=\"collapse\" data-bs-target=\"#x\" data-own=\"1\">",
                ),
                // Another library's.
                (
                    "<a data-toggle=\"datetimepicker\" data-target=\"#x\">",
                    "<a data-toggle=\"datetimepicker\" data-target=\"#x\">",
                ),
                ("<p data-content=\"x\">", "<p data-content=\"x\">"),
                (
                    "<div class=\"collapse\" data-parent=\"#x\" data-target=\"y\">",
                    "<div class=\"collapse\" data-bs-parent=\"#x\" data-target=\"y\">",
                ),
                (
                    "<a data-toggle=tab data-bs-toggle=tab>",
                    "<a data-toggle=tab data-bs-toggle=tab>",
                ),
                (
                    "<li Data-Slide-To=2 data-target=x>",
                    "<li data-bs-slide-to=2 data-bs-target=x>",
                ),
            ],
        );
    }

    proptest! {
        #[test]
        fn any_text_survives_and_twice_is_once(
            text in "([<>/=\"' ]|class|p|ml-3|sr-only|data-toggle|tab|é|&amp;|\\PC){0,40}"
        ) {
            let once = Bootstrap4To5.apply(Some(&text)).expect("it never fails").expect("no NULL");
            let twice = Bootstrap4To5.apply(Some(&once)).expect("it never fails").expect("no NULL");
            prop_assert_eq!(once, twice);
        }
    }
}
