//! Rows that are words, sentences and documents: pooled values by hand, and laws: unit = "token" is no unit, words of one token are tokens,
//! workers, stops, kills and shards change nothing.

use crate::bench_rig::{by_rank, cognate, latents, matches, project, run, same_tables, small_demo, tables};
use crate::crosstok::alignment;
use crate::kill::kill_after;
use crate::merge::{flow, merge, shards};
use cognate::corpus::{Document, TokenBatch, Tokenizer};
use cognate::ids::Site;
use cognate::matching::Direction;
use cognate::sae::Encode;
use cognate::table::TopTokenCell;
use std::path::{Path, PathBuf};
use unicode_segmentation::UnicodeSegmentation;

const UNITS: [&str; 3] = ["word", "sentence", "document"];

/// Documents of the demo's corpus, every one of which the tokenizer gives its bytes of.
fn texts(n: usize, characters: usize) -> Vec<String> {
    let text = std::fs::read_to_string(project().join("data/demo/corpus.jsonl")).unwrap();
    let all: Vec<&str> = text.lines().collect();
    let of = |line: &&&str| -> String {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        record["text"].as_str().unwrap().chars().take(characters).collect()
    };
    all.iter().step_by(all.len() / n).take(n).map(|line| of(&line)).collect()
}

/// The small demo over these texts with more under `[compare]`.
fn over(folder: &Path, texts: &[String], compare: &str, more: &[(&str, &str)]) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let corpus = folder.join("texts.jsonl");
    let line = |text: &String| format!("{}\n", serde_json::json!({ "text": text }));
    std::fs::write(&corpus, texts.iter().map(line).collect::<String>()).unwrap();
    let files = format!("files = [{:?}]", corpus.to_str().unwrap());
    let pairs = format!("pairs = \"all\"\n{compare}");
    let mut changes = vec![
        ("files = [\"data/demo/corpus.jsonl\"]", files.as_str()),
        ("labels = [\"lang\"]\n", ""),
        ("pairs = \"all\"", pairs.as_str()),
        ("max_tokens = 12_000", "max_tokens = 0"),
    ];
    changes.extend(more);
    small_demo(folder, &changes)
}

/// The tokens of a text in pieces that end between two characters, each with the number of its row, by a plain reading of the whole text; and
/// how many rows there are.
fn plain_rows(text: &str, tokenizer: &Tokenizer, unit: &str) -> (Vec<(Vec<u32>, usize)>, usize) {
    let tokens = tokenizer.encode_with_bytes(text).unwrap().unwrap();
    let parts: Vec<&str> = match unit {
        "word" => text.split_word_bounds().collect(),
        "sentence" => text.split_sentence_bounds().collect(),
        _ => vec![text],
    };
    let behind = |at: &mut usize, part: &&str| {
        *at += part.len();
        Some(*at)
    };
    let bounds: Vec<usize> = parts.iter().scan(0, behind).collect();
    let (mut pieces, mut ids, mut row, mut from) = (Vec::new(), Vec::new(), 0, 0);
    for (k, (id, end)) in tokens.ids.iter().zip(&tokens.ends).enumerate() {
        ids.push(*id);
        // tokens without bytes go with those before them
        if !text.is_char_boundary(*end) || tokens.ends.get(k + 1) == Some(end) {
            continue;
        }
        pieces.push((std::mem::take(&mut ids), row));
        let bound = *bounds.iter().find(|bound| *bound >= end).unwrap();
        let is_end = if unit == "document" { *end == text.len() } else { text[*end..bound].trim().is_empty() };
        if is_end && !text[from..*end].trim().is_empty() {
            (row, from) = (row + 1, *end);
        }
    }
    let n = row + usize::from(from < text.len());
    (pieces, n)
}

/// A value of each column on each row: `[n_columns][n_rows]`.
type Columns = Vec<Vec<f64>>;

/// Of one site on all texts: the greatest of each latent on a row's tokens, or of dimensions the last.
fn by_hand(
    texts: &[String],
    tokenizer: &Tokenizer,
    unit: &str,
    site: &str,
    sae: Option<&str>,
    length: usize,
) -> Columns {
    let site: Site = site.parse().unwrap();
    let demo = project().join("data/demo");
    let model = cognate::model::open(&demo.join("models").join(&site.model)).unwrap();
    let sae = sae.map(|sae| cognate::sae::open(&demo.join("saes").join(&site.model).join(sae), None).unwrap());
    let mut columns: Columns = Vec::new();
    for text in texts {
        let (pieces, n_rows) = plain_rows(text, tokenizer, unit);
        let row_of: Vec<usize> = pieces.iter().flat_map(|(ids, row)| vec![*row; ids.len()]).collect();
        // a row begins a context where it does not fit in what is left; one that is longer fills several
        let bos = tokenizer.bos_or_convention().unwrap();
        let mut contexts: Vec<Vec<u32>> = vec![vec![bos]];
        for (k, (ids, row)) in pieces.iter().enumerate() {
            let whole = row_of.iter().filter(|of| *of == row).count();
            let begins = k == 0 || pieces[k - 1].1 != *row;
            let held = contexts.last().unwrap().len();
            if held > 1 && (held + ids.len() > length || begins && held + whole > length) {
                contexts.push(vec![bos]);
            }
            contexts.last_mut().unwrap().extend(ids);
        }
        let first = columns.first().map_or(0, Vec::len);
        let mut token = 0;
        for ids in contexts {
            let mut batch = TokenBatch::new(0, 0);
            batch.documents.push(Document::default());
            let counted: Vec<bool> = (0..ids.len()).map(|p| p > 0).collect();
            batch.push(ids, &counted, &[(0, 0)]);
            let x = cognate::model::forward(model.as_ref(), &batch, &batch.views[0], &[site.hookpoint], &[])
                .unwrap()
                .remove(0)
                .x;
            let encoded = sae.as_ref().map(|sae| sae.encode(&x, Encode::Sparse).unwrap());
            columns.resize(encoded.as_ref().map_or(x.n_cols(), |e| e.d_sae), vec![0.0; first]);
            columns.iter_mut().for_each(|column| column.resize(first + n_rows, 0.0));
            for r in 0..x.n_rows() {
                let row = first + row_of[token];
                token += 1;
                match &encoded {
                    Some(encoded) => {
                        let (latents, values) = encoded.row(r);
                        for (&latent, &value) in latents.iter().zip(values) {
                            let there = &mut columns[latent as usize][row];
                            *there = there.max(f64::from(value));
                        }
                    }
                    None => columns.iter_mut().zip(x.row(r)).for_each(|(column, v)| column[row] = f64::from(*v)),
                }
            }
        }
    }
    columns
}

fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    let n = x.len() as f64;
    let (mx, my) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let sum = |of: &dyn Fn(usize) -> f64| (0..x.len()).map(of).sum::<f64>();
    let (xx, yy) = (sum(&|k| (x[k] - mx).powi(2)), sum(&|k| (y[k] - my).powi(2)));
    let xy = sum(&|k| (x[k] - mx) * (y[k] - my));
    (xx > 0.0 && yy > 0.0).then(|| xy / (xx * yy).sqrt())
}

#[test]
fn pooled_values_and_correlations_are_those_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let texts = texts(24, 700);
    let tokenizer = cognate::model::tokenizer(&project().join("data/demo/models/small-a")).unwrap();
    for unit in UNITS {
        let home = folder.path().join(unit);
        let pairs = format!(
            "pairs = [[\"small-a/resid_post.1\", \"small-b/resid_post.3\"], [\"small-a/resid_post.0\", \"small-b/resid_post.3\"]]\nunit = \
             {unit:?}"
        );
        let other = "[saes.\"small-a/resid_post.2\"]\npath = \"data/demo/saes/small-a/layers.2\"\n";
        let flow = over(&home, &texts, "", &[("pairs = \"all\"\n", pairs.as_str()), (other, "")]);
        let out = home.join("run");
        let said = run(&flow, &out, &["--quiet"]);
        let rows = latents(&out);
        let [a, b, raw] = [
            ("small-a/resid_post.1", Some("layers.1")),
            ("small-b/resid_post.3", Some("layers.3")),
            ("small-a/resid_post.0", None),
        ]
        .map(|(site, sae)| (site, by_hand(&texts, &tokenizer, unit, site, sae, 64)));
        let n = a.1[0].len();
        assert!(
            alignment(&out)
                .iter()
                .all(|r| r.rows == n as u64 && r.unit.as_str() == unit && r.dropped_bytes + r.cut_units == 0),
            "{said:?}"
        );
        assert_eq!(alignment(&out)[0].bytes, texts.iter().map(|text| text.len() as u64).sum::<u64>(), "{unit}");
        let mut fired = 0;
        for (site, columns) in [&a, &b, &raw] {
            let mine: Vec<_> = rows.iter().filter(|r| r.site.to_string() == *site).collect();
            assert_eq!(mine.len(), columns.len(), "{unit} {site}");
            for (row, column) in mine.iter().zip(columns) {
                let n_active = column.iter().filter(|v| **v != 0.0).count() as u64;
                assert_eq!(row.n_active, n_active, "{unit} {site} {}", row.latent);
                let mean = column.iter().sum::<f64>() / n as f64;
                assert!(
                    (row.mean - mean).abs() <= 1e-9 * (1.0 + mean.abs()),
                    "{unit} {site} {}: {} {mean}",
                    row.latent,
                    row.mean
                );
                if let Some(max) = row.max {
                    assert_eq!(
                        f64::from(max),
                        column.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                        "{unit} {site}"
                    );
                }
                fired += n_active;
            }
        }
        let found = by_rank(&matches(&out), a.0, b.0, Direction::Forward);
        let mut compared = 0;
        for (latent, x) in a.1.iter().enumerate().step_by(37) {
            let best =
                b.1.iter()
                    .filter_map(|y| pearson(x, y))
                    .fold(None, |best: Option<f64>, r| Some(best.map_or(r, |b| b.max(r))));
            let Some(row) = found.get(&(latent as u32, 1)) else { continue };
            match (row.correlation, best) {
                (Some(r), Some(best)) => {
                    assert!((r - best).abs() < 1e-9, "{unit} {latent}: {r} {best}");
                    compared += 1;
                }
                (found, expected) => assert_eq!(found, expected, "{unit} {latent}"),
            }
        }
        println!("{unit}: {n} rows, {fired} values, {compared} best partners");
        assert!(compared > 5, "{compared}");
    }
}

#[test]
fn a_token_is_the_default_unit() {
    let folder = tempfile::tempdir().unwrap();
    let texts = texts(40, 500);
    for (align, unit) in [("", "unit = \"token\""), ("align = \"span\"", "align = \"span\"\nunit = \"token\"")] {
        let home = folder.path().join(format!("align{}", align.len()));
        let [plain, with] = ["plain", "with"].map(|name| home.join(name));
        run(&over(&home, &texts, align, &[]), &plain, &["--quiet"]);
        run(&over(&home, &texts, unit, &[]), &with, &["--quiet"]);
        same_tables(&tables(&plain), &with, unit);
    }
}

#[test]
fn words_of_one_token_are_rows_of_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let letters = |k: usize| -> String {
        let letter = |j: usize| char::from(b'a' + ((k * 7 + j * j * 3 + j) % 16) as u8).to_string();
        (0..60 + k).map(letter).collect::<Vec<_>>().join(" ")
    };
    let texts: Vec<String> = (0..40).map(letters).collect();
    let given = [(
        "null = { permutations = 20, activation_permutations = 2 }",
        "null = { permutations = 20, activation_permutations = 2, given = true }",
    )];
    let mut found = Vec::new();
    for compare in ["align = \"span\"", "unit = \"word\"", "unit = \"word\"\nspan_contexts = \"own\""] {
        let home = folder.path().join(format!("flow{}", found.len()));
        let out = home.join("run");
        run(&over(&home, &texts, compare, &given), &out, &["--quiet"]);
        assert_eq!(alignment(&out)[0].one_to_one, Some(1.0));
        let mut rows = latents(&out);
        // the file of each run lies in a folder of its own
        for cell in rows.iter_mut().flat_map(|row| &mut row.top) {
            cell.document = cell.document.rsplit_once('/').map_or_else(String::new, |(_, name)| name.to_string());
        }
        found.push((rows, matches(&out)));
    }
    assert!(found[0].0.iter().any(|r| r.n_active > 100));
    assert_eq!(found[1], found[0]);
    assert_eq!(found[2], found[0]);
}

#[test]
fn workers_stops_and_kills_leave_the_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let texts = texts(60, 1200);
    for (unit, every) in [("word", "800"), ("sentence", "120"), ("document", "15")] {
        let home = folder.path().join(unit);
        let compare = format!("unit = {unit:?}\nreadout = true");
        let (snapshots, checkpoints) = (format!("snapshot_every = {every}"), format!("every = {every}"));
        let flow =
            over(&home, &texts, &compare, &[("snapshot_every = 3_000", &snapshots), ("every = 1_000", &checkpoints)]);
        let of = |name: &str| home.join(name);
        run(&flow, &of("whole"), &["--quiet"]);
        let expected = tables(&of("whole"));
        for workers in ["2", "3"] {
            run(&flow, &of(workers), &["--quiet", "--workers", workers]);
            same_tables(&expected, &of(workers), &format!("{unit}, {workers} workers"));
        }
        kill_after(&flow, &of("killed"), 1);
        run(&flow, &of("killed"), &["--quiet", "--workers", "2"]);
        same_tables(&expected, &of("killed"), &format!("{unit}, killed"));
    }
}

/// Top tokens with the document's place in its file, wherever the file lies.
fn told(top: Vec<TopTokenCell>) -> Vec<(String, f32, String, Option<String>)> {
    let line = |document: &str| document.rsplit_once(':').map(|(_, line)| line.to_string());
    top.into_iter().map(|cell| (cell.token, cell.value, cell.context, line(&cell.document))).collect()
}

/// Contexts of a batch decide which rows the null lays beside each other, and no more.
#[test]
fn batches_of_other_sizes_have_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let texts = texts(40, 600);
    for unit in UNITS {
        let mut found = Vec::new();
        for contexts in ["8", "12", "30"] {
            let home = folder.path().join(format!("{unit}{contexts}"));
            let out = home.join("run");
            let batch = format!("batch_contexts = {contexts}");
            run(
                &over(&home, &texts, &format!("unit = {unit:?}"), &[("batch_contexts = 8", &batch)]),
                &out,
                &["--quiet"],
            );
            let facts: Vec<_> = latents(&out)
                .into_iter()
                .map(|r| (r.site, r.latent, r.n_active, r.max, r.documents, told(r.top)))
                .collect();
            found.push((alignment(&out), facts));
        }
        assert!(found[0].0[0].rows >= 40);
        assert_eq!(found[1], found[0], "{unit}");
        assert_eq!(found[2], found[0], "{unit}");
    }
}

#[test]
fn a_merge_is_the_run_over_all_shards() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let files = shards(folder.path(), 2);
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let with_unit = |name: &str, files: &[&Path]| {
        let flow = flow(folder.path(), name, files);
        let text =
            std::fs::read_to_string(&flow).unwrap().replace("pairs = \"all\"", "pairs = \"all\"\nunit = \"sentence\"");
        std::fs::write(&flow, text).unwrap();
        flow
    };
    for (name, files) in [("a", &files[..1]), ("b", &files[1..]), ("whole", &files[..])] {
        run(&with_unit(&format!("flow-{name}"), files), &path(name), &["--quiet"]);
    }
    let (code, said) = merge(&[&path("a"), &path("b")], &path("ab"));
    assert_eq!(code, 0, "{said}");
    assert_eq!(alignment(&path("ab")), alignment(&path("whole")));
    let facts = |name: &str| -> Vec<_> {
        latents(&path(name)).into_iter().map(|r| (r.site, r.latent, r.n_active, r.max, r.documents, r.top)).collect()
    };
    assert_eq!(facts("ab"), facts("whole"));
}

#[test]
fn what_a_unit_cannot_be_with_is_refused_and_what_it_is_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let texts = texts(6, 300);
    let plan = |compare: &str, more: &[(&str, &str)]| {
        let output = cognate().arg("plan").arg(over(folder.path(), &texts, compare, more)).output().unwrap();
        let said = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b).into_owned()).concat();
        (output.status.code(), said.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let length = "context_length = 64";
    let bin = folder.path().join("ids.bin");
    std::fs::write(&bin, [5u8, 0, 6, 0, 7, 0]).unwrap();
    let bin = format!("files = [{:?}]\ncontext_length = 64", bin.to_str().unwrap());
    for (compare, more, words) in [
        (
            "unit = \"document\"",
            [(length, "context_length = 64\nshuffle = \"tokens\"")],
            "corpus.shuffle changes nothing here",
        ),
        (
            "unit = \"document\"",
            [(length, "context_length = 64\nremainder = \"drop\"")],
            "corpus.remainder = \"drop\" leaves out",
        ),
        (
            "unit = \"document\"",
            [("[checkpoint]", "[controls.text]\nshuffle = 2\n[checkpoint]")],
            "controls.text.shuffle changes nothing here",
        ),
        (
            "unit = \"word\"",
            [(length, "context_length = 64\ncount_special = true")],
            "corpus.count_special changes nothing here",
        ),
        ("unit = \"letter\"", [(length, length)], "unknown variant `letter`"),
        ("span_contexts = \"own\"", [(length, length)], "write align = \"span\" or a unit"),
    ] {
        let (code, said) = plan(compare, &more);
        assert!(code == Some(2) && said.contains(words), "{compare}: {said}");
    }
    let files = std::fs::read_to_string(over(folder.path(), &texts, "unit = \"word\"", &[])).unwrap();
    let files = files.lines().find(|line| line.starts_with("files")).unwrap().to_string() + "\n";
    let flow = folder.path().join("bin.toml");
    let text = std::fs::read_to_string(folder.path().join("flow.toml")).unwrap();
    std::fs::write(&flow, text.replace(&files, "").replace(length, &bin)).unwrap();
    let output = cognate().arg("plan").arg(&flow).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(2)
            && said.contains("ids.bin holds ready-made ids")
            && said.contains("compare.unit = \"word\""),
        "{said}"
    );

    let (code, said) = plan("unit = \"sentence\"", &[]);
    assert!(
        code == Some(0) && said.contains("rows sentences (Unicode), each with the white space before it,"),
        "{said}"
    );
    let out = folder.path().join("run");
    let flow = over(folder.path(), &texts, "unit = \"word\"", &[]);
    let said = String::from_utf8_lossy(&run(&flow, &out, &[]).stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("a row is a word, or more where a token of some tokenizer runs on: on average"), "{said}");
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("A row is a word"), "the page says what a row is");
    let output = cognate()
        .arg("score")
        .arg(&out)
        .args(["--set", "compare.unit=sentence", "--out"])
        .arg(folder.path().join("x"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("compare.unit"), "{said}");
}

/// More contexts than a batch holds are several rows, and the end of the run reports it.
#[test]
fn documents_that_are_too_long_are_counted_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let texts = texts(20, 2500);
    let flow = over(folder.path(), &texts, "unit = \"document\"", &[("batch_contexts = 8", "batch_contexts = 2")]);
    let out = folder.path().join("run");
    let said = run(&flow, &out, &[]);
    let rows = alignment(&out);
    assert!(rows[0].cut_units > 5 && rows[0].cut_units <= 20 && rows[0].rows > 20 + rows[0].cut_units, "{rows:?}");
    assert_eq!(rows[0].bytes, texts.iter().map(|text| text.len() as u64).sum::<u64>());
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("too long for one row"), "{said}");
}
