//! Do the files of `src/` import each other without going round?
//!
//! A file imports another where a path in it leads there. A name that a module passes on (`pub use child::Name`) leads to the
//! file that it is taken from, so a parent that only declares its children and passes their names on imports nothing. What it
//! passes on and names in its own code as well, it imports.

use super::{Source, Token, after_item, is_name, sources, without_tests};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

#[test]
fn files_import_each_other_in_no_circle() {
    let circles = circles(&imports(&sources()));
    assert!(circles.is_empty(), "\n{}", circles.join("\n"));
}

#[test]
fn a_circle_is_seen_however_it_is_written() {
    let found = |files: &[(&str, &str)]| -> usize {
        let sources: Vec<Source> = files.iter().map(|(path, text)| source(path, text)).collect();
        circles(&imports(&sources)).len()
    };
    let root = ("src/lib.rs", "mod a; mod b;");
    // each way to name the other file, and none where only one of them does
    for path in
        ["use crate::b::B;", "use super::b::{self, B};", "fn f(_: crate::b::B) {}", "use crate::{b::{B, C}, c};"]
    {
        assert_eq!(found(&[root, ("src/a.rs", path), ("src/b.rs", "use crate::a::A;")]), 1, "{path}");
        assert_eq!(found(&[root, ("src/a.rs", path), ("src/b.rs", "pub struct B;")]), 0, "{path}");
    }
    // of three
    let three = |last: &'static str| {
        found(&[
            ("src/r/mod.rs", "mod a; mod b; mod c;"),
            ("src/r/a.rs", "use crate::r::b::B;"),
            ("src/r/b.rs", "use super::c::C;"),
            ("src/r/c.rs", last),
        ])
    };
    assert_eq!((three("use super::a::A;"), three("use crate::error::E;")), (1, 0));
    // names that a parent passes on lead to the child they come from
    let parent = |own: &'static str, x: &'static str, y: &'static str| {
        found(&[("src/r/mod.rs", own), ("src/r/x.rs", x), ("src/r/y.rs", y)])
    };
    let passes_on = "mod x; mod y; pub use x::{X, Other as Another}; pub use y::Y;";
    assert_eq!(parent(passes_on, "use crate::r::Y;", "pub struct Y;"), 0);
    assert_eq!(parent(passes_on, "use super::Y;", "use super::Another;"), 1);
    // a parent's own item is the parent's; it may be used by children that it does not use
    assert_eq!(parent("mod x; mod y; pub struct P;", "use super::P;", "use super::x::X;"), 0);
    assert_eq!(parent("mod x; mod y; use x::X; pub struct P(X);", "use super::P;", ""), 1);
    assert_eq!(parent("mod x; mod y; pub use x::X; pub struct P(X);", "use super::P;", ""), 1);
    assert_eq!(parent("mod x; mod y; pub struct P; fn f() { x::g() }", "use super::P;", ""), 1);
    // `super` in a module inside the file is the file
    let inside = "mod inner { use super::B; use super::super::b::B; } pub struct B;";
    assert_eq!(found(&[root, ("src/a.rs", inside), ("src/b.rs", "use crate::a::A;")]), 1);
    assert_eq!(found(&[root, ("src/a.rs", "mod inner { use super::b; }"), ("src/b.rs", "use crate::a::A;")]), 0);
    // tests may look back
    assert_eq!(
        found(&[root, ("src/a.rs", "use crate::b::B;"), ("src/b.rs", "#[cfg(test)] mod t { use crate::a::A; }")]),
        0
    );
}

fn source(path: &str, text: &str) -> Source {
    let path = PathBuf::from(path);
    Source { module: super::module_of(&path), tokens: without_tests(&super::tokens(text)), path }
}

/// Which files each file imports, and one place where it does.
type Imports = BTreeMap<PathBuf, BTreeMap<PathBuf, usize>>;

/// A path as it is written: `crate::a::b::C`.
struct Written {
    names: Vec<String>,
    /// The name it is known by here.
    known_as: String,
    line: usize,
    /// Whether it is passed on (`pub use`).
    passed_on: bool,
}

struct Module<'a> {
    source: &'a Source,
    children: BTreeSet<String>,
    paths: Vec<Written>,
}

fn imports(sources: &[Source]) -> Imports {
    let modules: BTreeMap<Vec<String>, Module> = (sources.iter())
        .map(|source| {
            let children = declared(&source.tokens);
            let module = Module { source, paths: paths(&source.tokens, &children), children };
            (place_of(source), module)
        })
        .collect();
    let mut out = Imports::new();
    for (place, module) in &modules {
        let own = out.entry(module.source.path.clone()).or_default();
        let named: BTreeSet<&str> = names_in_code(&module.source.tokens);
        for path in &module.paths {
            let Some(target) = absolute(place, &module.children, &path.names) else { continue };
            let of_child = target.len() > place.len() && target.starts_with(place);
            if path.passed_on && of_child && !named.contains(path.known_as.as_str()) {
                continue;
            }
            if let Some(file) = file_of(&modules, &target, 0).filter(|f| **f != module.source.path) {
                own.entry(file.clone()).or_insert(path.line);
            }
        }
    }
    out
}

/// A file's module below the crate's root, which is `[]`.
fn place_of(source: &Source) -> Vec<String> {
    match source.module.as_slice() {
        [root] if root == "lib" => Vec::new(),
        module => module.to_vec(),
    }
}

/// A path from the crate's root on; `None` for one that leads out of the crate or stays in the file.
fn absolute(place: &[String], children: &BTreeSet<String>, names: &[String]) -> Option<Vec<String>> {
    let climbed = names.iter().take_while(|n| *n == "super").count();
    let (from, rest) = match names[0].as_str() {
        "crate" => (&place[..0], &names[1..]),
        "super" => (place.get(..place.len().checked_sub(climbed)?)?, &names[climbed..]),
        "self" => (place, &names[1..]),
        first if children.contains(first) => (place, names),
        _ => return None,
    };
    Some(from.iter().chain(rest).filter(|n| *n != "self").cloned().collect())
}

/// The file that holds what a path from the root names.
fn file_of<'a>(modules: &'a BTreeMap<Vec<String>, Module>, path: &[String], depth: usize) -> Option<&'a PathBuf> {
    let (n, module) = (0..=path.len()).rev().find_map(|n| Some((n, modules.get(&path[..n])?)))?;
    let passed_on = path.get(n).and_then(|name| module.paths.iter().find(|p| p.passed_on && p.known_as == *name));
    let further = passed_on.and_then(|p| {
        let from = absolute(&path[..n], &module.children, &p.names)?;
        (depth < 16).then(|| file_of(modules, &from, depth + 1)).flatten()
    });
    Some(further.unwrap_or(&module.source.path))
}

/// Names of `mod NAME;` and `mod NAME { … }`.
fn declared(tokens: &[Token]) -> BTreeSet<String> {
    let names = tokens.windows(2).filter(|w| w[0].text == "mod" && is_name(&w[1].text));
    names.map(|w| w[1].text.clone()).collect()
}

/// Every path of a file that may lead to another one.
fn paths(tokens: &[Token], children: &BTreeSet<String>) -> Vec<Written> {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    let depths = depths(tokens);
    let (mut i, mut out) = (0, Vec::new());
    while i < tokens.len() {
        // not the `use<…>` of a type
        if text(i) == "use" && text(i + 1) != "<" {
            let passed_on = is_public(tokens, i);
            let mut found = Vec::new();
            tree(tokens, i + 1, Vec::new(), passed_on, &mut found);
            out.extend(found.into_iter().filter_map(|path| climbed_out(path, depths[i])));
            i = after_item(tokens, i);
            continue;
        }
        let begins = ["crate", "super", "self"].contains(&text(i)) || children.contains(text(i));
        if begins && text(i + 1) == "::" && (i == 0 || text(i - 1) != "::" && text(i - 1) != ".") {
            let mut names = vec![text(i).to_string()];
            while text(i + 1) == "::" && is_name(text(i + 2)) {
                names.push(text(i + 2).to_string());
                i += 2;
            }
            let known_as = names.last().cloned().unwrap_or_default();
            let path = Written { names, known_as, line: tokens[i].line, passed_on: false };
            out.extend(climbed_out(path, depths[i]));
        }
        i += 1;
    }
    out
}

/// A path of a module that is `depth` deep in its file, as from the file; `None` for one that stays in it.
fn climbed_out(mut path: Written, depth: usize) -> Option<Written> {
    let climbed = path.names.iter().take_while(|n| *n == "super").count().min(depth);
    let first = path.names.get(climbed)?.as_str();
    if climbed == 0 && depth > 0 && first != "crate" || climbed > 0 && climbed < depth {
        return None;
    }
    path.names.drain(..climbed);
    Some(path)
}

/// How many `mod NAME { … }` each token of a file is inside of.
fn depths(tokens: &[Token]) -> Vec<usize> {
    let mut out = vec![0; tokens.len()];
    for i in 0..tokens.len().saturating_sub(2) {
        if tokens[i].text == "mod" && tokens[i + 2].text == "{" {
            out[i..after_item(tokens, i).min(tokens.len())].iter_mut().for_each(|depth| *depth += 1);
        }
    }
    out
}

/// Whether the `use` at `i` has a `pub` before it, of whatever reach.
fn is_public(tokens: &[Token], i: usize) -> bool {
    let from = (0..i).rev().find(|&k| [";", "}", "{", "]"].contains(&tokens[k].text.as_str())).map_or(0, |k| k + 1);
    tokens[from..i].iter().any(|t| t.text == "pub")
}

/// The paths of a `use` from token `i` on, one for each member of braces; gives the place behind.
fn tree(tokens: &[Token], mut i: usize, mut names: Vec<String>, passed_on: bool, out: &mut Vec<Written>) -> usize {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    loop {
        match text(i) {
            "{" => {
                i += 1;
                while !["}", ""].contains(&text(i)) {
                    i = tree(tokens, i, names.clone(), passed_on, out);
                    if text(i) == ";" {
                        return i;
                    }
                    i += usize::from(text(i) == ",");
                }
                return i + 1;
            }
            "::" => i += 1,
            "as" => i += 2,
            ";" | "," | "}" | "" => break,
            name => {
                names.push(name.to_string());
                i += 1;
            }
        }
    }
    let known_as = if text(i - 2) == "as" { text(i - 1) } else { names.last().map_or("", |n| n.as_str()) };
    let known_as = if known_as == "self" { names.iter().rev().nth(1).map_or("", |n| n.as_str()) } else { known_as };
    let known_as = known_as.to_string();
    if !names.is_empty() {
        out.push(Written { names, known_as, line: tokens[i - 1].line, passed_on });
    }
    i
}

/// Names that stand in a file's code, `use` and `mod` items left out.
fn names_in_code(tokens: &[Token]) -> BTreeSet<&str> {
    let (mut i, mut out) = (0, BTreeSet::new());
    while i < tokens.len() {
        if tokens[i].text == "use" && tokens.get(i + 1).is_some_and(|t| t.text != "<") {
            i = after_item(tokens, i);
            continue;
        }
        if is_name(&tokens[i].text) {
            out.insert(tokens[i].text.as_str());
        }
        i += 1;
    }
    out
}

/// Each knot of files that import each other, as one shortest way round.
fn circles(imports: &Imports) -> Vec<String> {
    let mut seen: BTreeSet<&PathBuf> = BTreeSet::new();
    let mut out = Vec::new();
    for start in imports.keys() {
        if seen.contains(start) {
            continue;
        }
        let Some(way) = way_back(imports, start) else { continue };
        let reached = reached_from(imports, start);
        seen.extend(reached.into_iter().filter(|file| reached_from(imports, file).contains(start)));
        let steps: Vec<String> =
            (way.windows(2)).map(|step| format!("{}:{}", step[0].display(), imports[step[0]][step[1]])).collect();
        out.push(format!("a circle: {} → {}", steps.join(" → "), start.display()));
    }
    out
}

/// The files that a shortest way from `start` back to it goes through, `start` at both ends.
fn way_back<'a>(imports: &'a Imports, start: &'a PathBuf) -> Option<Vec<&'a PathBuf>> {
    let mut ways: Vec<Vec<&PathBuf>> = vec![vec![start]];
    let mut seen: BTreeSet<&PathBuf> = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in imports.get(way[way.len() - 1])?.keys() {
                let way: Vec<&PathBuf> = way.iter().copied().chain([next]).collect();
                if next == start {
                    return Some(way);
                }
                if seen.insert(next) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

fn reached_from<'a>(imports: &'a Imports, start: &'a PathBuf) -> BTreeSet<&'a PathBuf> {
    let mut reached = BTreeSet::new();
    let mut left = vec![start];
    while let Some(file) = left.pop() {
        for next in imports[file].keys() {
            if reached.insert(next) {
                left.push(next);
            }
        }
    }
    reached
}
