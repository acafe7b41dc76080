//! Does every room import only from rooms before it, do its files import each other in no circle, and has every outside crate one
//! home?
//!
//! The sources are read as tokens (comments, texts and test code left out), so this needs no compiler. Paths are judged
//! by the name that stands first: `crate::room::…`, `super::…` that climbs out of its room, or an outside crate's name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[path = "layers/circles.rs"]
mod circles;

/// Rooms in order of their layer. A room imports from itself and from lower layers; rooms of one layer do not know each
/// other.
const LAYERS: [&[&str]; 19] = [
    &["error"],
    &["disk", "halt", "ids", "units"],
    &["linalg", "hub", "store", "threads"],
    &["device"],
    &["weights"],
    &["corpus"],
    &["model"],
    &["sae"],
    &["moments"],
    &["matching"],
    &["similarity"],
    &["table"],
    &["report"],
    &["spec"],
    &["plan"],
    &["doctor"],
    &["engine"],
    &["cli"],
    // the crate's root names every room
    &["lib", "main"],
];

/// Outside crates and the rooms that may name them.
const HOMES: &[(&str, &[&str])] = &[
    ("timely", &["engine"]),
    ("differential_dataflow", &["engine"]),
    ("bincode", &["engine"]),
    ("libc", &["engine"]),
    ("hf_hub", &["hub"]),
    ("candle_core", &["device", "model"]),
    ("candle_nn", &["model"]),
    ("faer", &["linalg"]),
    ("gemm", &["linalg"]),
    // loops in the machine's vectors, each next to the numbers that it is for
    ("pulp", &["linalg", "model"]),
    ("half", &["weights"]),
    ("memmap2", &["linalg", "weights"]),
    // a container of tensors: weights, latents, state, and what the command line hands over
    ("safetensors", &["store", "weights", "cli"]),
    ("tokenizers", &["corpus"]),
    ("flate2", &["corpus", "weights"]),
    ("zstd", &["hub", "corpus"]),
    ("glob", &["corpus"]),
    ("unicode_segmentation", &["corpus"]),
    // columns: of the corpus, of tables, and of what a feed is asked and answers
    ("arrow", &["corpus", "model", "table"]),
    ("parquet", &["disk", "corpus", "model", "table"]),
    ("bytes", &["disk"]),
    ("tempfile", &["disk"]),
    ("rustix", &["store"]),
    ("bytemuck", &["linalg", "store", "corpus"]),
    ("blake3", &["linalg", "store", "corpus", "plan", "engine"]),
    ("toml", &["spec"]),
    ("serde_path_to_error", &["spec"]),
    ("strsim", &["cli", "disk", "hub", "spec"]),
    ("thiserror", &["error"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("console", &["cli"]),
    ("signal_hook", &["cli"]),
    ("cpu_time", &["cli"]),
    ("rayon", EVERYWHERE),
    ("serde", EVERYWHERE),
    ("serde_json", EVERYWHERE),
];

const EVERYWHERE: &[&str] = &[];

/// Outside crates that Cargo.toml names for their features alone.
const NOWHERE: &[&str] = &["getrandom"];

/// One source file, tests left out.
struct Source {
    path: PathBuf,
    /// The file's module, `["engine", "fold"]`.
    module: Vec<String>,
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    text: String,
    line: usize,
}

/// The first names of a path: `crate::a::b` gives `["crate", "a"]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Start {
    names: Vec<String>,
    line: usize,
}

#[test]
fn rooms_import_from_lower_layers_only() {
    let mut breaches = Vec::new();
    for source in sources() {
        let room = source.module[0].as_str();
        let Some(own) = layer(room) else {
            breaches.push(format!("{}: room {room} stands in no layer", source.path.display()));
            continue;
        };
        if own == layer("lib").expect("the root is a layer") {
            continue;
        }
        for start in starts(&source.tokens) {
            let Some(target) = room_named(&source.module, &start.names) else { continue };
            if target == room {
                continue;
            }
            let place = format!("{}:{}", source.path.display(), start.line);
            match layer(&target) {
                Some(of_target) if of_target < own => {}
                Some(_) => breaches.push(format!("{place}: {room} imports from {target}, which stands to its right")),
                None => breaches.push(format!("{place}: crate::{target} is no room")),
            }
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn outside_crates_stay_in_their_homes() {
    let (dependencies, _) = dependencies();
    let homes: BTreeMap<&str, &[&str]> = HOMES.iter().copied().collect();
    let mut breaches: Vec<String> = (dependencies.iter())
        .filter(|d| !homes.contains_key(d.as_str()) && !NOWHERE.contains(&d.as_str()))
        .map(|d| format!("Cargo.toml: {d} has no home in tests/layers.rs"))
        .collect();
    for source in sources() {
        let room = source.module[0].as_str();
        let local = local_names(&source.tokens);
        for start in starts(&source.tokens) {
            let name = start.names[0].as_str();
            if !dependencies.contains(name) || local.contains(name) {
                continue;
            }
            let home = homes.get(name).copied().unwrap_or(EVERYWHERE);
            if NOWHERE.contains(&name) || !home.is_empty() && !home.contains(&room) {
                let place = format!("{}:{}", source.path.display(), start.line);
                breaches.push(format!("{place}: {room} uses {name}, whose home is {}", home.join(", ")));
            }
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

/// What goes past `disk/` cannot be made to fail by `tests/torture`. Clippy (clippy.toml) sees methods of paths as well.
#[test]
fn files_are_touched_in_one_room() {
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|s| s.module[0] != "disk") {
        let of_files = source.tokens.windows(3).filter(|t| reads(t, &["std", "::", "fs"]));
        breaches.extend(
            of_files.map(|t| format!("{}:{}: std::fs; expected crate::disk", source.path.display(), t[0].line)),
        );
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn every_home_is_lived_in() {
    let (dependencies, _) = dependencies();
    let used: BTreeSet<(String, String)> = (sources().iter())
        .flat_map(|s| {
            let local = local_names(&s.tokens);
            let outside = starts(&s.tokens).into_iter().map(|start| start.names[0].clone());
            outside.filter(|name| !local.contains(name)).map(|name| (name, s.module[0].clone())).collect::<Vec<_>>()
        })
        .collect();
    let stale = stale_homes(HOMES, NOWHERE, &dependencies, &used);
    assert!(stale.is_empty(), "\n{}", stale.join("\n"));
    // what the test would say
    let used = BTreeSet::from([("rayon".to_string(), "store".to_string())]);
    let homes: &[(&str, &[&str])] = &[("rayon", &["store", "hub"]), ("zip", &["hub"]), ("serde", EVERYWHERE)];
    let told = stale_homes(homes, &["rand"], &names(["rayon", "serde"]), &used);
    let expected = ["rayon is at home in hub, which does not use it", "zip", "serde", "rand"];
    assert!(told.len() == expected.len() && told.iter().zip(expected).all(|(t, e)| t.contains(e)), "{told:?}");
}

/// Homes of crates that Cargo.toml does not name, rooms that do not use the crate at home in them, and crates at home
/// everywhere that are used nowhere.
fn stale_homes(
    homes: &[(&str, &[&str])],
    nowhere: &[&str],
    dependencies: &BTreeSet<String>,
    used: &BTreeSet<(String, String)>,
) -> Vec<String> {
    let mut stale = Vec::new();
    for &(name, rooms) in homes {
        if !dependencies.contains(name) {
            stale.push(format!("tests/layers.rs: {name} has a home and is no dependency"));
            continue;
        }
        for room in rooms.iter().filter(|room| !used.contains(&(name.to_string(), room.to_string()))) {
            stale.push(format!("tests/layers.rs: {name} is at home in {room}, which does not use it"));
        }
        if rooms.is_empty() && !used.iter().any(|(of, _)| of == name) {
            stale.push(format!("tests/layers.rs: {name} is at home everywhere and used nowhere"));
        }
    }
    let unknown = nowhere.iter().filter(|name| !dependencies.contains(**name));
    stale.extend(unknown.map(|name| format!("tests/layers.rs: {name} is no dependency")));
    stale
}

#[test]
fn every_dependency_is_used() {
    let (dependencies, for_tests) = dependencies();
    let live: BTreeSet<String> = sources().iter().flat_map(|s| starts(&s.tokens)).map(|s| s.names[0].clone()).collect();
    let mut unused: Vec<&String> =
        dependencies.iter().filter(|d| !live.contains(*d) && !NOWHERE.contains(&d.as_str())).collect();
    let mut all = BTreeSet::new();
    for folder in ["src", "tests", "benches"] {
        for file in rust_files(Path::new(folder)) {
            all.extend(starts(&tokens(&read(&file))).into_iter().map(|s| s.names[0].clone()));
        }
    }
    unused.extend(for_tests.iter().filter(|d| !all.contains(*d)));
    assert!(unused.is_empty(), "Cargo.toml names crates that no source uses: {unused:?}");
}

#[test]
fn a_reader_of_sources_sees_what_the_compiler_sees() {
    let text = r##"
        //! crate::in_a_comment
        use crate::{ids::Site, linalg::{self, gemm}};
        use super::super::moments;
        use faer as f; /* crate::not /* nested */ here */
        const S: &str = "crate::in_a_text"; const R: &str = r#"crate::raw "x" "#;
        fn a<'a>(c: char) -> bool { c == '"' && timely::x::<u8>() && rayon::scope(|_| crate::table::y()) }
        #[cfg(test)] mod tests { use crate::cli::z; fn b() { "}" ; } }
        #[cfg(test)] mod testing;
        #[cfg(test)]
        #[derive(Debug)]
        struct T(crate::engine::X);
        fn last() { crate::store::x() }
    "##;
    let found: BTreeSet<String> =
        starts(&without_tests(&tokens(text))).into_iter().map(|s| s.names.join("::")).collect();
    let expected = [
        "crate::ids",
        "crate::linalg",
        "crate::store",
        "crate::table",
        "faer",
        "rayon",
        "super::super::moments",
        "timely",
    ];
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(local_names(&tokens("use crate::linalg::gemm; mod zip; fn f() { gemm::x() }")), names(["gemm", "zip"]));
    assert_eq!(test_modules(&tokens("#[cfg(test)] pub(super) mod a; #[cfg(test)] mod b { mod c; } mod d;")), ["a"]);
    let climbs = |path: &str| {
        room_named(&["engine".into(), "fold".into()], &path.split("::").map(String::from).collect::<Vec<_>>())
    };
    assert_eq!(climbs("super::state"), None);
    assert_eq!(climbs("super::super::cli"), Some("cli".into()));
    assert_eq!(climbs("crate::cli"), Some("cli".into()));
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.into_iter().map(String::from).collect()
}

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

/// The room that a path leads to, from inside `module`; `None` for paths that stay where they are or leave the crate.
fn room_named(module: &[String], start: &[String]) -> Option<String> {
    if start[0] == "crate" {
        return start.get(1).cloned();
    }
    let climbed = start.iter().take_while(|n| *n == "super").count();
    (climbed > 0 && climbed >= module.len()).then(|| start.get(climbed).cloned()).flatten()
}

/// Crates that Cargo.toml names, as Rust writes them: of the library, and of its tests.
fn dependencies() -> (BTreeSet<String>, BTreeSet<String>) {
    let manifest: toml::Table = read(Path::new("Cargo.toml")).parse().expect("Cargo.toml is TOML");
    let targets = manifest.get("target").and_then(|t| t.as_table()).into_iter().flat_map(|t| t.values());
    let places: Vec<&toml::Table> = std::iter::once(&manifest).chain(targets.filter_map(|t| t.as_table())).collect();
    let of = |section: &str| {
        let tables = places.iter().filter_map(|place| place.get(section)?.as_table());
        tables.flat_map(|t| t.keys()).map(|k| k.replace('-', "_")).collect()
    };
    (of("dependencies"), of("dev-dependencies"))
}

/// Every file under `src/` that is not test code.
fn sources() -> Vec<Source> {
    let files = rust_files(Path::new("src"));
    let mut tests: Vec<PathBuf> = Vec::new();
    for file in &files {
        tests.extend(test_modules(&tokens(&read(file))).into_iter().map(|name| folder_of_children(file).join(name)));
    }
    let is_test = |file: &Path| tests.iter().any(|t| file.starts_with(t) || file == t.with_extension("rs"));
    let out: Vec<Source> = (files.into_iter().filter(|f| !is_test(f)))
        .map(|path| Source { module: module_of(&path), tokens: without_tests(&tokens(&read(&path))), path })
        .collect();
    assert!(out.len() > 50, "src/ was not found");
    out
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("a folder can be listed").path()).collect();
    paths.sort();
    let mut out = Vec::new();
    for path in paths {
        if path.is_dir() {
            out.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
    out
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn module_of(path: &Path) -> Vec<String> {
    let inside = path.strip_prefix("src").expect("listed under src").with_extension("");
    let mut module: Vec<String> = inside.iter().map(|p| p.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|m| m == "mod") {
        module.pop();
    }
    module
}

fn folder_of_children(file: &Path) -> PathBuf {
    match file.file_stem().and_then(|s| s.to_str()) {
        Some("mod" | "lib" | "main") => file.parent().expect("a file has a folder").to_path_buf(),
        _ => file.with_extension(""),
    }
}

/// Names, `::` and single characters of a source; comments and texts left out.
fn tokens(source: &str) -> Vec<Token> {
    let c: Vec<char> = source.chars().collect();
    let at = |i: usize| c.get(i).copied().unwrap_or('\0');
    let (mut i, mut line, mut out) = (0, 1, Vec::new());
    while i < c.len() {
        let from = i;
        let mut text = None;
        if at(i) == '/' && at(i + 1) == '/' {
            while i < c.len() && at(i) != '\n' {
                i += 1;
            }
        } else if at(i) == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            loop {
                match (at(i), at(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
                if depth == 0 || i >= c.len() {
                    break;
                }
            }
        } else if at(i) == '"' {
            i = after_text(&c, i);
        } else if at(i) == '\'' {
            // a character, or a lifetime
            if at(i + 1) == '\\' {
                i += 3;
                while i < c.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            } else if at(i + 2) == '\'' {
                i += 3;
            } else {
                i += 1;
            }
        } else if at(i).is_alphanumeric() || at(i) == '_' {
            while at(i).is_alphanumeric() || at(i) == '_' {
                i += 1;
            }
            let word: String = c[from..i].iter().collect();
            let hashes = (i..c.len()).take_while(|&k| c[k] == '#').count();
            if matches!(word.as_str(), "r" | "br" | "cr") && at(i + hashes) == '"' {
                let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                i += hashes + 1;
                while i < c.len() && !c[i..].starts_with(&end) {
                    i += 1;
                }
                i += end.len();
            } else if matches!(word.as_str(), "b" | "c") && at(i) == '"' {
                i = after_text(&c, i);
            } else {
                text = Some(word);
            }
        } else if at(i) == ':' && at(i + 1) == ':' {
            i += 2;
            text = Some("::".to_string());
        } else {
            i += 1;
            text = (!at(from).is_whitespace()).then(|| at(from).to_string());
        }
        if let Some(text) = text {
            out.push(Token { text, line });
        }
        line += c[from..i.min(c.len())].iter().filter(|c| **c == '\n').count();
    }
    out
}

/// Where the text ends that begins with the quotation mark at `i`.
fn after_text(c: &[char], mut i: usize) -> usize {
    i += 1;
    while i < c.len() && c[i] != '"' {
        i += if c[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

fn reads(tokens: &[Token], expected: &[&str]) -> bool {
    tokens.len() >= expected.len() && tokens.iter().zip(expected).all(|(t, e)| t.text == *e)
}

const TEST_ONLY: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];

/// The same without items under `#[cfg(test)]`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let (mut i, mut out) = (0, Vec::new());
    while i < tokens.len() {
        if reads(&tokens[i..], &TEST_ONLY) {
            i = after_item(tokens, i + TEST_ONLY.len());
        } else {
            out.push(tokens[i].clone());
            i += 1;
        }
    }
    out
}

/// Where an item ends: after its `;`, or after its closing brace.
fn after_item(tokens: &[Token], mut i: usize) -> usize {
    let mut depth = 0i32;
    while i < tokens.len() {
        match tokens[i].text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return i + 1;
                }
            }
            ";" if depth <= 0 => return i + 1,
            _ => {}
        }
        i += 1;
    }
    i
}

/// Names of `#[cfg(test)] mod NAME;`, with or without `pub`.
fn test_modules(tokens: &[Token]) -> Vec<String> {
    (0..tokens.len())
        .filter(|&i| reads(&tokens[i..], &TEST_ONLY))
        .filter_map(|i| {
            let from = i + TEST_ONLY.len();
            let item = &tokens[from..after_item(tokens, from)];
            let at = item.iter().position(|t| t.text == "mod")?;
            let visibility =
                item[..at].iter().all(|t| ["pub", "(", ")", "in", "super", "crate"].contains(&t.text.as_str()));
            (visibility && item.get(at + 2)?.text == ";").then(|| item[at + 1].text.clone())
        })
        .collect()
}

/// Modules declared and names imported by a path of this crate: where they stand first, they are no outside crate.
fn local_names(tokens: &[Token]) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let mut i = 0;
    while i < tokens.len() {
        if tokens[i].text == "mod" {
            out.extend(tokens.get(i + 1).map(|t| t.text.clone()));
        }
        if tokens[i].text == "use"
            && tokens.get(i + 1).is_some_and(|t| ["crate", "super", "self"].contains(&t.text.as_str()))
        {
            let end = after_item(tokens, i);
            let last = |k: &usize| matches!(tokens.get(k + 1).map(|t| t.text.as_str()), Some(";" | "," | "}"));
            out.extend((i..end).filter(last).map(|k| tokens[k].text.clone()).filter(|t| is_name(t)));
            i = end;
            continue;
        }
        i += 1;
    }
    out
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// How every path begins: its first name, with the names after `crate` and `super`; braces give one path each.
fn starts(tokens: &[Token]) -> Vec<Start> {
    let mut out = Vec::new();
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    let mut i = 0;
    while i < tokens.len() {
        if text(i) == "use" {
            // "use ::name" begins outside the crate
            follow(tokens, i + 1 + usize::from(text(i + 1) == "::"), Vec::new(), &mut out);
            i = after_item(tokens, i);
            continue;
        }
        let begins = is_name(text(i)) && (i == 0 || text(i - 1) != "::" && text(i - 1) != ".");
        if begins && text(i + 1) == "::" {
            follow(tokens, i, Vec::new(), &mut out);
        }
        i += 1;
    }
    out.sort();
    out.dedup();
    out
}

fn follow(tokens: &[Token], mut i: usize, mut names: Vec<String>, out: &mut Vec<Start>) {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    loop {
        if text(i) == "{" {
            // one path for each member of the braces
            let (mut depth, mut k, mut first) = (0, i, true);
            loop {
                match text(k) {
                    "" => return,
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    "," if depth == 1 => first = true,
                    _ if depth == 1 && first => {
                        follow(tokens, k, names.clone(), out);
                        first = false;
                    }
                    _ => {}
                }
                if depth == 0 {
                    return;
                }
                k += 1;
            }
        }
        names.push(text(i).to_string());
        let goes_on = matches!(text(i), "crate" | "super" | "self") && text(i + 1) == "::";
        if !goes_on {
            out.push(Start { names, line: tokens[i].line });
            return;
        }
        i += 2;
    }
}
