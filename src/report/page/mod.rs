//! A run as one page for a browser: no network, everything in it. `page.html` is the frame, `page.css` its looks, `js/` what
//! moves; this room gathers the figures from the tables and writes the words.
//!
//! Nothing of the corpus reaches the page as markup: words made here are escaped, the data is JSON without `<`, and the
//! script puts texts into the page as texts. A policy in the page's head forbids every request.

mod asked_for;
mod collect;
mod data;
mod embedding;
mod findings;
mod gather;
#[cfg(test)]
mod tests;

pub use gather::{Decoders, OtherRun};

use crate::error::Result;
use crate::report::Marker;
use data::{PageData, count};
use findings::findings;
use std::fmt::Write;
use std::path::Path;

const FRAME: &str = include_str!("page.html");
const LOOKS: &str = include_str!("page.css");
/// In the order in which they are read; one scope.
const SCRIPTS: [&str; 13] = [
    include_str!("js/basics.js"),
    include_str!("js/words.js"),
    include_str!("js/scores.js"),
    include_str!("js/charts.js"),
    include_str!("js/given.js"),
    include_str!("js/readout.js"),
    include_str!("js/agreement.js"),
    include_str!("js/matches.js"),
    include_str!("js/over.js"),
    include_str!("js/controls.js"),
    include_str!("js/groups.js"),
    include_str!("js/map.js"),
    include_str!("js/start.js"),
];

/// What is known of a run in addition to its tables, in words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFacts {
    /// Its name.
    pub name: String,
    /// Whether it read the corpus to its end, or as far as it was asked to; `None` where that is not known.
    pub finished: Option<bool>,
    /// Name and value, in the order shown.
    pub facts: Vec<(String, String)>,
    /// The dataflow file.
    pub dataflow: String,
}

/// The page of a run: the same tables and facts give the same bytes. `tables` is the folder of the newest tables,
/// `history` the history file; `controls` the table that compares it with its controls; `decoders` gives decoder rows
/// for the map; `beside` is another run of the same hookpoints.
///
/// # Errors
/// The errors of reading a table.
pub fn page(
    tables: &Path,
    history: &Path,
    facts: &RunFacts,
    marker: &Marker,
    decoders: Decoders<'_>,
    beside: Option<OtherRun<'_>>,
    controls: Option<&Path>,
) -> Result<String> {
    let mut data = gather::gather(tables, history, marker, decoders)?;
    if let Some(controls) = controls {
        asked_for::read_controls(controls, &mut data)?;
    }
    if let Some(beside) = beside {
        gather::gather_beside(beside, &mut data)?;
    }
    Ok(assemble(&data, facts))
}

/// Puts the pieces into the frame.
fn assemble(data: &PageData, facts: &RunFacts) -> String {
    let json = serde_json::to_string(data).expect("the page's data is JSON: finite numbers, text keys");
    let pieces = [
        ("looks", LOOKS.to_string()),
        ("name", escaped(&facts.name)),
        ("subtitle", escaped(&subtitle(data, facts))),
        ("findings", findings_html(data)),
        ("facts", facts_html(facts)),
        ("dataflow", escaped(&facts.dataflow)),
        ("data", for_script(&json)),
        ("script", SCRIPTS.concat()),
    ];
    let mut out = String::with_capacity(FRAME.len() + pieces.iter().map(|p| p.1.len()).sum::<usize>());
    let mut rest = FRAME;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("a place in the frame is closed");
        out.push_str(before);
        out.push_str(&pieces.iter().find(|p| p.0 == name).expect("a place in the frame has a piece").1);
        rest = after;
    }
    out + rest
}

fn subtitle(data: &PageData, facts: &RunFacts) -> String {
    let mut models: Vec<&str> = data.sites.iter().map(|s| s.model.as_str()).collect();
    models.dedup();
    let (n, tokens) = (data.pairs.len(), data.history.tokens.last().copied().unwrap_or(0));
    let pairs = if n == 1 { "one pair of hookpoints".to_string() } else { format!("{n} pairs of hookpoints") };
    let state = if facts.finished == Some(false) { ", not finished yet" } else { "" };
    format!("{}: {pairs}, {} tokens{state}", models.join(" and "), count(tokens))
}

fn findings_html(data: &PageData) -> String {
    let mut out = String::new();
    for f in findings(data) {
        writeln!(out, "<li><strong>{}</strong> {}</li>", escaped(f.lead), escaped(&f.text))
            .expect("a string takes all");
    }
    out
}

fn facts_html(facts: &RunFacts) -> String {
    let mut out = String::new();
    for (name, value) in &facts.facts {
        writeln!(out, "<div><dt>{}</dt><dd>{}</dd></div>", escaped(name), escaped(value)).expect("a string takes all");
    }
    out
}

/// Text as text between tags and in quoted attributes; control and direction characters are spelt out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            '\r' => {}
            c if c.is_control() || is_unseen(c) => {
                out.push_str(&format!("\\u{{{:x}}}", c as u32));
            }
            c => out.push(c),
        }
    }
    out
}

/// Characters that turn the direction of text, break lines or have no width.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// JSON that is safe in a `<script>` element: `<` ends none and opens none, and old engines' line ends are spelt out.
fn for_script(json: &str) -> String {
    json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}
