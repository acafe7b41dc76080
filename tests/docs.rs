//! Do the documents say what the program does? Keys of dataflow files, commands and flags, examples, links.

use cognate::spec::DataflowSpec;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// A dataflow file with every optional key that would be left out of the spec's JSON when absent.
const FULL: &str = r#"
format = 1
name = "full"
[corpus]
files = ["x.parquet"]
sample = { fraction = 0.5 }
shuffle = "tokens"
ids = "ids"
context_length = 8
[models.a]
path = "a"
random_weights = { seed = 1, embeddings = true }
sizes = {}
[models.b]
path = "b"
[saes."a/resid_post.0"]
path = "a"
format = "sparsify"
subtract_b_dec = true
scale = 2.0
center = true
insist = ["hookpoint"]
sizes = { d_in = 8, d_sae = 16, d_out = 8, k = 2 }
[saes."b/resid_post.0"]
path = "b"
random = { seed = 1, k = 2 }
[compare]
pairs = [["a/resid_post.0", "b/resid_post.0"]]
align = "span"
unit = "word"
span_contexts = "own"
pool = { latents = "mean" }
[estimate]
filters = { min_within = 0.3 }
stop_when = { churn_below = 0.01 }
categories = "data/categories.toml"
[controls.all]
random_weights = 1
random_saes = 1
shuffle = 2
"#;

/// The same for models that another process runs, which no control can draw weights of.
const FED: &str = r#"
format = 1
name = "fed"
[corpus]
files = ["x.jsonl"]
context_length = 8
[models.a]
feed = { command = ["python", "feed.py"] }
tokenizer = "a"
d_model = 8
layers = 2
[models.b]
feed = { socket = "b.sock" }
tokenizer = "b"
[saes."a/resid_post.0"]
fed = { d_sae = 8, most = 2 }
[compare]
pairs = [["a/resid_post.0", "b/resid_post.0"]]
"#;

/// The same for activations that lie in files.
const FILES: &str = r#"
format = 1
name = "files"
[corpus]
files = ["x.jsonl"]
context_length = 8
[models.a]
files = { "resid_post.0" = { paths = "x.safetensors", tensor = "x" } }
tokenizer = "a"
[models.b]
path = "b"
[saes."a/resid_post.1"]
stored = { path = "cache", d_sae = 8, most = 2 }
[compare]
pairs = [["a/resid_post.0", "b/resid_post.0"], ["a/resid_post.1", "b/resid_post.0"]]
"#;

#[test]
fn every_key_of_a_dataflow_file_has_a_row_in_its_document() {
    let document = read("dataflows/README.md");
    let spec = DataflowSpec::parse(FULL, Path::new("full.toml")).expect("the full file is right");
    let mut keys = BTreeSet::new();
    gather(&serde_json::to_value(spec).expect("a spec is plain data"), &mut keys);
    let fed = DataflowSpec::parse(FED, Path::new("fed.toml")).expect("the fed file is right");
    gather(&serde_json::to_value(fed).expect("a spec is plain data"), &mut keys);
    let files = DataflowSpec::parse(FILES, Path::new("files.toml")).expect("the file of files is right");
    gather(&serde_json::to_value(files).expect("a spec is plain data"), &mut keys);
    assert!(keys.contains("context_length") && keys.contains("activation_permutations"), "{keys:?}");
    let rows: BTreeSet<&str> = document.lines().filter_map(|l| l.strip_prefix("| `")?.split('`').next()).collect();
    let missing: Vec<&String> = keys
        .iter()
        .filter(|k| {
            let table = document.contains(&format!("## `[{k}]`")) || document.contains(&format!("## `[{k}."));
            !rows.contains(k.as_str()) && !table
        })
        .collect();
    assert!(missing.is_empty(), "dataflows/README.md has no row for {missing:?}");

    // and no row for a key that is not there; rows of measures are names that are read
    let measures = between(&document, "### Measures", "\n## ");
    let of_measures: BTreeSet<&str> =
        measures.lines().filter_map(|l| l.strip_prefix("| `")?.split('`').next()).collect();
    let unknown: Vec<&&str> = rows.iter().filter(|r| !keys.contains(**r) && !of_measures.contains(*r)).collect();
    assert!(unknown.is_empty(), "dataflows/README.md describes {unknown:?}, which the program does not read");
}

#[test]
fn every_sae_format_is_in_the_document() {
    let document = read("dataflows/README.md");
    let row = document.lines().find(|l| l.contains("Insist on a format")).expect("the format has a row");
    for format in cognate::sae::Format::ALL {
        assert!(row.contains(&format!("`\"{format}\"`")), "dataflows/README.md does not name {format}");
    }
}

#[test]
fn every_measure_in_the_document_is_read() {
    let document = read("dataflows/README.md");
    let section = between(&document, "### Measures", "\n## ");
    let cells = section.lines().filter(|l| l.starts_with("| `"));
    let names: BTreeSet<&str> = cells.flat_map(in_code).filter(|n| *n != "no_power").collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let example = name.strip_suffix('N').map(|n| format!("{n}7")).unwrap_or(name.to_string());
        let example = example.strip_suffix('P').map(|n| format!("{n}90")).unwrap_or(example.clone());
        example.parse::<cognate::similarity::Measure>().unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn defaults_in_the_document_are_the_programs() {
    let document = read("dataflows/README.md");
    // keys of rows of text change nothing where rows are tokens
    let of_tokens =
        FULL.replace("align = \"span\"\nunit = \"word\"\nspan_contexts = \"own\"\npool = { latents = \"mean\" }\n", "");
    let spec = DataflowSpec::parse(&of_tokens, Path::new("full.toml")).expect("the full file is right");
    let fed = DataflowSpec::parse(FED, Path::new("fed.toml")).expect("the fed file is right");
    let mut spec = serde_json::to_value(spec).expect("a spec is plain data");
    spec["models"]["fed"] = serde_json::to_value(fed).expect("a spec is plain data")["models"]["a"].take();
    for (section, pointer) in [
        ("## Top", ""),
        ("## `[corpus]`", "/corpus"),
        ("### `sample`", "/corpus/sample"),
        ("## `[saes.", "/saes/a~1resid_post.0"),
        ("## `[models.", "/models/a"),
        ("### `feed`", "/models/fed/feed"),
        ("## `[compare]`", "/compare"),
        ("## `[estimate]`", "/estimate"),
        ("### `filters`", "/estimate/filters"),
        ("### `map`", "/estimate/map"),
        ("### `stop_when`", "/estimate/stop_when"),
        ("### `null`", "/estimate/null"),
        ("### `given`", "/estimate/null/given"),
        ("## `[checkpoint]`", "/checkpoint"),
        ("## `[check]`", "/check"),
    ] {
        let values = spec.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
        for line in between(&document, section, "\n#").lines().filter(|l| l.starts_with("| `")) {
            let cells: Vec<&str> = line.split(" | ").collect();
            let key = cells[0].trim_start_matches("| `").trim_end_matches('`');
            let Some(written) = cells[2].strip_prefix('`').and_then(|c| c.strip_suffix('`')) else { continue };
            let written: toml::Table = format!("x = {written}").parse().unwrap_or_else(|e| panic!("{line}: {e}"));
            let written = serde_json::to_value(&written["x"]).expect("TOML is plain data");
            assert_eq!(values[key], written, "default of {pointer}/{key}");
        }
    }
}

#[test]
fn every_command_in_the_documents_is_in_the_help() {
    let root = help(&[]);
    let commands: BTreeMap<String, String> = subcommands(&root)
        .into_iter()
        .map(|name| {
            let text = help(&[&name]);
            (name, text)
        })
        .collect();
    assert!(commands.contains_key("run") && commands.contains_key("plan"), "{root}");
    let readme = read("README.md");
    let not_there = between(&readme, "## Not there yet", "\n## ");
    let mut shown = BTreeSet::new();
    for (name, text) in guides() {
        let document = text.replace(not_there, "");
        for line in command_lines(&document) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some(text) = commands.get(words[1]) else { panic!("{name}: {line:?}: no command {}", words[1]) };
            for flag in words[2..].iter().filter(|w| w.starts_with("--")) {
                let flag = flag.trim_end_matches([',', '.', ';']);
                assert!(has_flag(text, flag), "{name}: {line:?}: cognate {} has no {flag}", words[1]);
            }
            shown.insert(words[1].to_owned());
        }
        // flags that stand alone in the text belong to some command
        for word in in_code(&document).filter(|w| w.starts_with("--")) {
            let flag = word.split_whitespace().next().expect("it is not empty");
            let cargo = matches!(flag, "--no-default-features" | "--features");
            assert!(cargo || commands.values().any(|text| has_flag(text, flag)), "{name}: no command has {flag}");
        }
    }
    let hidden: Vec<&String> = commands.keys().filter(|c| !shown.contains(*c)).collect();
    assert!(hidden.is_empty(), "no document shows {hidden:?}");
}

#[test]
fn what_is_said_to_be_missing_is_missing() {
    let commands = subcommands(&help(&[]));
    let readme = read("README.md");
    let not_there = between(&readme, "## Not there yet", "\n## ");
    for word in in_code(not_there) {
        assert!(!commands.contains(word), "README says that there is no {word}, but there is");
    }
}

#[test]
fn examples_are_right_dataflow_files() {
    let mut examples = 0;
    for (name, text) in guides() {
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().expect("split gives a first part");
            DataflowSpec::parse(block, Path::new("example.toml")).unwrap_or_else(|e| panic!("{name}: {e}"));
            examples += 1;
        }
    }
    assert!(examples > 0);
    for entry in std::fs::read_dir("dataflows").expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_some_and(|e| e == "toml") {
            DataflowSpec::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
    }
}

#[test]
fn the_readmes_two_commands_are_those_that_are_checked() {
    let readme = read("README.md");
    for command in ["cargo run --release -- run dataflows/demo.toml", "cargo test --profile checked"] {
        assert!(readme.lines().any(|l| l == command), "README: no line {command:?}");
    }
    assert!(read(".ci/run").lines().any(|l| l.ends_with(" cargo test --profile checked")), ".ci/run runs other tests");
}

#[test]
fn links_lead_somewhere() {
    let others = ["ARCHITECTURE.md", "CHANGELOG.md"].map(|name| (name.to_owned(), read(name)));
    for (name, text) in guides().into_iter().chain(others) {
        let home = Path::new(&name).parent().expect("a file has a folder");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().expect("split gives a first part");
            assert!(link.starts_with("http") || home.join(file).exists(), "{name}: {link} leads nowhere");
        }
    }
}

/// The documents for users, with their paths.
fn guides() -> Vec<(String, String)> {
    let mut names = vec!["README.md".to_owned(), "dataflows/README.md".to_owned()];
    for entry in std::fs::read_dir("docs").expect("the folder is there") {
        let name = entry.expect("it can be listed").file_name().into_string().expect("names are text");
        if name.ends_with(".md") {
            names.push(format!("docs/{name}"));
        }
    }
    names.sort();
    assert!(names.len() > 5, "{names:?}");
    names.into_iter().map(|name| (name.clone(), read(&name))).collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Text from `from` up to the next `to` behind it.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = text.find(from).unwrap_or_else(|| panic!("no {from:?}"));
    let rest = &text[start + from.len()..];
    &rest[..rest.find(to).unwrap_or(rest.len())]
}

/// Names of keys, below names that the user gives.
fn gather(value: &Value, keys: &mut BTreeSet<String>) {
    let Value::Object(map) = value else { return };
    for (key, inner) in map {
        keys.insert(key.clone());
        match (key.as_str(), inner) {
            ("models" | "saes" | "controls" | "files", Value::Object(named)) => {
                named.values().for_each(|v| gather(v, keys))
            }
            _ => gather(inner, keys),
        }
    }
}

/// The text between single backticks, line breaks read as spaces; fenced blocks left out.
fn in_code(text: &str) -> impl Iterator<Item = &str> {
    let outside = text.split("```").step_by(2);
    outside.flat_map(|part| part.split('`').skip(1).step_by(2))
}

/// `cognate …` lines of fenced blocks and of inline code.
fn command_lines(text: &str) -> Vec<String> {
    let blocks = text.split("```").skip(1).step_by(2).flat_map(str::lines).map(String::from);
    let inline = in_code(text).map(|c| c.split_whitespace().collect::<Vec<_>>().join(" "));
    let through_cargo = |l: String| match l.strip_prefix("cargo run --release -- ") {
        Some(rest) => format!("cognate {rest}"),
        None => l,
    };
    let bare = |l: &String| l.starts_with("cognate ");
    blocks
        .chain(inline)
        .map(through_cargo)
        .filter(bare)
        .map(|l| l.split(" # ").next().expect("split gives a first part").trim().to_string())
        .collect()
}

fn help(arguments: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_cognate")).args(arguments).arg("--help").output().expect("it runs");
    assert!(out.status.success(), "{arguments:?} --help fails");
    String::from_utf8(out.stdout).expect("help is text")
}

/// Names under "Commands:".
fn subcommands(help: &str) -> BTreeSet<String> {
    let section = between(help, "Commands:\n", "\n\n");
    section
        .lines()
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
        .filter_map(|l| l.split_whitespace().next().map(String::from))
        .filter(|name| name != "help")
        .collect()
}

fn has_flag(help: &str, flag: &str) -> bool {
    help.split(|c: char| c.is_whitespace() || ",[]<>=".contains(c)).any(|word| word == flag)
}
