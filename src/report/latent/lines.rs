//! How is a latent's card laid out? Items on as many lines as they need, contexts cut to fit, nothing that drives a terminal.

use crate::report::Marker;
use crate::report::words::shown_token;
use crate::table::TopTokenCell;
use std::fmt::Write;

/// Tokens shown of another latent.
const TOKENS_SHOWN: usize = 4;

/// The first few strings that differ, as they are printed.
pub(super) fn few_tokens<S: AsRef<str>>(tokens: impl Iterator<Item = S>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for token in tokens.map(|t| shown_token(t.as_ref())) {
        if !out.contains(&token) && out.len() < TOKENS_SHOWN {
            out.push(token);
        }
    }
    out
}

/// The context with the strong token in brackets, cut to `room` characters around it.
pub(super) fn marked(top: &TopTokenCell, marker: &Marker, room: usize) -> String {
    let Some(place) = marker.place(top) else {
        let text: String = plain(&top.context).chars().take(room.saturating_sub(30).max(10)).collect();
        return format!("{} in {text}", shown_token(&top.token));
    };
    let (before, after) = (plain(&top.context[..place.start]), plain(&top.context[place.end..]));
    let strong = plain(&top.context[place]);
    let left = room.saturating_sub(strong.chars().count() + 2);
    let n_before = before.chars().count();
    let keep = n_before.min((left * 2 / 3).max(left.saturating_sub(after.chars().count())));
    let before: String = before.chars().skip(n_before - keep).collect();
    let after: String = after.chars().take(left - keep).collect();
    format!("{before}[{strong}]{after}")
}

/// Text that a terminal may be given: control characters and those that turn the direction of writing spelt out.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' => out.push('⏎'),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.extend(c.escape_unicode());
            }
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// Items behind a head, on as many lines as they need.
pub(super) fn write_wrapped(out: &mut String, head: &str, items: &[String], width: usize) -> std::fmt::Result {
    let mut line = head.to_string();
    let mut is_empty = true;
    for item in items {
        if !is_empty && line.chars().count() + item.chars().count() + 1 > width {
            writeln!(out, "{}", line.trim_end())?;
            line = " ".repeat(head.chars().count().min(width / 2));
        }
        line.push_str(item);
        line.push_str("  ");
        is_empty = false;
    }
    writeln!(out, "{}", line.trim_end())
}
