//! Runs over shards added up, against one run over all of them; and runs that end by themselves.

use crate::bench_rig::{cognate, latents, matches, project, run, same_tables, small_demo, tables};
use cognate::table::{HistoryRow, PairCounts, PairRow, SimilarityRow, TableReader};
use std::path::{Path, PathBuf};

/// The demo's corpus cut into `n` shards of whole batches: 64 documents of at most one context each.
pub fn shards(folder: &Path, n: usize) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(project().join("data/demo/corpus.jsonl")).unwrap();
    let lines: Vec<String> = (text.lines().step_by(3))
        .map(|line| {
            let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
            let short: String = record["text"].as_str().unwrap().chars().take(90).collect();
            record["text"] = short.into();
            record.to_string()
        })
        .collect();
    (0..n)
        .map(|k| {
            let path = folder.join(format!("shard-{k}.jsonl"));
            std::fs::write(&path, lines[64 * k..64 * (k + 1)].join("\n")).unwrap();
            path
        })
        .collect()
}

/// A flow over `files` with one snapshot, at the end.
pub fn flow(folder: &Path, name: &str, files: &[&Path]) -> PathBuf {
    let list: Vec<String> = files.iter().map(|f| format!("{:?}", f.to_str().unwrap())).collect();
    let (list, home) = (format!("files = [{}]", list.join(", ")), folder.join(name));
    std::fs::create_dir_all(&home).unwrap();
    let replace = [
        ("files = [\"data/demo/corpus.jsonl\"]", list.as_str()),
        ("max_tokens = 12_000", "max_tokens = 0"),
        ("snapshot_every = 3_000", "snapshot_every = 1_000_000"),
        ("activation_permutations = 2", "activation_permutations = 0"),
    ];
    small_demo(&home, &replace)
}

pub fn merge(parts: &[&Path], out: &Path) -> (i32, String) {
    let output = cognate().arg("merge").args(parts).arg("--out").arg(out).output().unwrap();
    let said = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
    (output.status.code().unwrap(), said)
}

fn close(a: Option<f64>, b: Option<f64>, tolerance: f64, what: &str) {
    match (a, b) {
        (Some(a), Some(b)) => assert!((a - b).abs() <= tolerance * a.abs().max(1.0), "{what}: {a} {b}"),
        _ => assert_eq!(a, b, "{what}"),
    }
}

#[test]
fn a_merge_is_the_run_over_all_shards() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let files = shards(folder.path(), 3);
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    for (name, files) in [("a", &files[..1]), ("b", &files[1..2]), ("c", &files[2..]), ("whole", &files[..])] {
        run(&flow(folder.path(), &format!("flow-{name}"), files), &path(name), &["--quiet"]);
    }
    let (code, said) = merge(&[&path("a"), &path("b"), &path("c")], &path("abc"));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("(open it in a browser)") && path("abc").join("report.html").exists(), "{said}");
    // from left to right, in one go or in two: the same bytes
    assert_eq!(merge(&[&path("a"), &path("b")], &path("ab")).0, 0);
    assert_eq!(merge(&[&path("ab"), &path("c")], &path("ab-c")).0, 0);
    same_tables(&tables(&path("abc")), &path("ab-c"), "a merge of a merge");

    // counts, extremes and strongest tokens (their rows shifted, their documents and contexts) to the last bit
    let (got, expected) = (latents(&path("abc")), latents(&path("whole")));
    assert_eq!(got.len(), expected.len());
    for (got, want) in got.iter().zip(&expected) {
        let what = format!("{} {}", want.site, want.latent);
        assert_eq!(
            (got.n_active, got.max, got.alive, &got.top),
            (want.n_active, want.max, want.alive, &want.top),
            "{what}"
        );
        assert_eq!(got.frequency.to_bits(), want.frequency.to_bits(), "{what}");
        for (a, b) in [(got.mean, want.mean), (got.std, want.std)] {
            close(Some(a), Some(b), 1e-12, &what);
        }
        assert!(got.labels.len() == want.labels.len() && !got.labels.is_empty(), "{what}: {}", got.labels.len());
        for (a, b) in got.labels.iter().zip(&want.labels) {
            let ((a, b), sums) = (a.as_ref().zip(b.as_ref()).unwrap(), "label");
            assert_eq!(a.n_active, b.n_active, "{what}");
            close(Some(a.sum), Some(b.sum), 1e-12, sums);
        }
    }
    // correlations, scores and nulls: sums of partial sums round elsewhere than one sum
    let (got, expected) = (matches(&path("abc")), matches(&path("whole")));
    assert!(got.len() == expected.len() && got.iter().any(|m| m.kept));
    let differ = got.iter().zip(&expected).filter(|(a, b)| a.correlation != b.correlation).count();
    for (got, want) in got.iter().zip(&expected) {
        assert_eq!((got.rank, got.kept, &got.dropped_by), (want.rank, want.kept, &want.dropped_by), "{want:?}");
        close(got.correlation, want.correlation, 1e-12, "correlation");
    }
    println!("{differ} of {} correlations differ in their last bits", got.len());
    let [merged, whole] = ["abc", "whole"].map(|name| crate::chance::pairs(&path(name)));
    assert_eq!((merged.len(), whole.len()), (2, 2));
    for (got, want) in merged.iter().zip(&whole) {
        // the last batch of a shard is a short one, so rows are turned to others: chance is another draw, counts are the same
        let about = |row: &PairRow| (row.tokens, row.documents, row.too_few.clone(), row.no_chance.clone());
        assert_eq!(about(got), about(want));
        let real = |c: &PairCounts| {
            let distinct = [c.n_distinct_partners_forward, c.n_distinct_partners_backward];
            (c.n_alive_source, c.n_alive_target, c.n_mutual, distinct, c.n_kept, c.n_kept_backward)
        };
        let (got, want) = (&got.counts, &want.counts);
        assert_eq!(real(got), real(want));
        close(got.mean_best_correlation_forward, want.mean_best_correlation_forward, 1e-12, "mean best r");
        let by_chance = got.n_mutual_null.unwrap();
        assert!(by_chance > 0 && by_chance.abs_diff(want.n_mutual_null.unwrap()) < by_chance / 4, "{got:?} {want:?}");
    }
    let read = |run: &Path| -> Vec<SimilarityRow> {
        TableReader::open(&run.join("tables/similarities.parquet")).unwrap().read_all().unwrap()
    };
    let (got, expected) = (read(&path("abc")), read(&path("whole")));
    assert!(got.len() == expected.len() && got.iter().any(|s| s.null_mean.is_some()));
    for (got, want) in got.iter().zip(&expected) {
        let what = format!("{} {}", want.measure, want.pairing.as_str());
        assert_eq!(got.n_pairs, want.n_pairs, "{what}");
        for (a, b) in [(got.value, want.value), (got.null_mean, want.null_mean), (got.null_sd, want.null_sd)] {
            close(a, b, 1e-9, &what);
        }
    }

    // a run over all shards finds itself done in a merge of them, and other commands read it
    run(&path("flow-whole").join("flow.toml"), &path("abc"), &["--quiet"]);
    for args in [&["status"][..], &["show"]] {
        let output = cognate()
            .args(args)
            .arg(path("abc"))
            .args((args[0] == "show").then_some("small-a/resid_post.2/5"))
            .output();
        let said = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
        assert!(said.contains(if args[0] == "show" { "small-a/resid_post.2" } else { "a merge of 3 runs" }), "{said}");
    }
    let output = cognate().arg("diff").arg(path("abc")).arg(path("ab-c")).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("same numbers"));

    // runs that decided how they keep their sums: a merge keeps the file as it was written, and is scored as they are
    let auto = ["a", "b"].map(|name| {
        let home = path(&format!("auto-{name}"));
        std::fs::create_dir(&home).unwrap();
        let text = std::fs::read_to_string(path(&format!("flow-{name}/flow.toml"))).unwrap();
        let flow = home.join("flow.toml");
        std::fs::write(&flow, text.replace("pairs = \"all\"", "pairs = \"all\"\ncross = \"auto\"\nwidth = 128"))
            .unwrap();
        run(&flow, &home.join("run"), &["--quiet"]);
        home.join("run")
    });
    let (code, said) = merge(&[&auto[0], &auto[1]], &path("auto-ab"));
    assert_eq!(code, 0, "{said}");
    same_tables(&tables(&path("ab")), &path("auto-ab"), "sums kept exactly, as asked or as decided");
    assert!(std::fs::read_to_string(path("auto-ab/dataflow.toml")).unwrap().contains("cross = \"auto\""));
    let output = cognate().arg("score").arg(path("auto-ab")).args(["--set", "estimate.best=1"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // refused: what was asked for differs, the same file twice (under another name), a place that is taken
    let other = path("flow-other");
    std::fs::create_dir(&other).unwrap();
    let text = std::fs::read_to_string(path("flow-b/flow.toml")).unwrap();
    std::fs::write(other.join("flow.toml"), text.replace("min_active = 3", "min_active = 4")).unwrap();
    run(&other.join("flow.toml"), &path("other"), &["--quiet"]);
    let copy = path("copy.jsonl");
    std::fs::copy(files[0], &copy).unwrap();
    run(&flow(folder.path(), "flow-copy", &[&copy]), &path("copied"), &["--quiet"]);
    for (parts, out, said) in [
        (["a", "other"], "x", "estimate.filters.min_active is 4 there, 3 here"),
        (["a", "copied"], "x", "both read the corpus file copy.jsonl"),
        (["a", "a"], "x", "both read the corpus file"),
        (["a", "b"], "abc", "holds a run already: the merge of "),
        (["a", "b"], "a", "holds a run already: one that read a corpus"),
        (["a", "nothing"], "x", "not a run directory"),
    ] {
        let (code, text) = merge(&[&path(parts[0]), &path(parts[1])], &path(out));
        assert!(code == 2 && text.contains(said), "{code} {text}");
    }
    // done already: the same bytes, and the page again where it is lost
    let (tables_before, manifest) = (tables(&path("ab")), std::fs::read(path("ab/manifest.json")).unwrap());
    std::fs::remove_file(path("ab/report.html")).unwrap();
    // as one leaves it that is killed while it writes the page
    std::fs::write(path("ab/.cognate-report.tmp"), "<html>").unwrap();
    let (code, said) = merge(&[&path("a"), &path("b")], &path("ab"));
    assert!(code == 0 && said.contains("is complete: it is a merge of these runs already"), "{code} {said}");
    assert!(!path("ab/.cognate-report.tmp").exists());
    // a table that was damaged is made again, and said to be
    let matches = path("ab/tables/matches.parquet");
    std::fs::write(&matches, &std::fs::read(&matches).unwrap()[1..]).unwrap();
    let (code, said) = merge(&[&path("a"), &path("b")], &path("ab"));
    assert!(code == 0 && said.contains("all were made again from the saved sums"), "{code} {said}");
    same_tables(&tables_before, &path("ab"), "merged once");
    assert!(std::fs::read(path("ab/manifest.json")).unwrap() == manifest && path("ab/report.html").exists());
    let (code, said) = merge(&[&path("b"), &path("a")], &path("ab"));
    assert!(code == 2 && said.contains("and not of"), "another order has other bytes: {said}");
}

#[test]
fn a_run_ends_when_its_matches_have_settled_with_any_workers_and_after_any_stop() {
    let folder = tempfile::tempdir().unwrap();
    let rule = "snapshot_every = 1_000\nstop_when = { churn_below = 0.35, snapshots = 2 }";
    let flow = small_demo(
        folder.path(),
        &[
            ("snapshot_every = 3_000", rule),
            ("max_tokens = 12_000", "max_tokens = 60_000"),
            ("every = 1_000", "every = 1_500"),
        ],
    );
    let path = |name: &str| folder.path().join(name);
    let said = String::from_utf8_lossy(&run(&flow, &path("one"), &["--json"]).stdout).into_owned();
    assert!(said.lines().last().unwrap().contains("converged: churn below 0.35 in 2 snapshots"), "{said}");
    let history: Vec<HistoryRow> =
        TableReader::open(&path("one").join("tables/history.parquet")).unwrap().read_all().unwrap();
    let last = history.last().unwrap().snapshot;
    let met = |at: u32| {
        let asked = history.iter().filter(|h| h.snapshot == at || h.snapshot + 1 == at);
        at >= 2 && asked.clone().count() > 1 && asked.clone().all(|h| h.churn.is_some_and(|c| c < 0.35))
    };
    assert!(history.last().unwrap().tokens < 60_000, "{history:?}");
    // the first snapshot that meets the rule is the last but one: the batch after it is the run's last
    assert_eq!((2..last).find(|&at| met(at)), Some(last - 1));

    let expected = tables(&path("one"));
    run(&flow, &path("three"), &["--quiet", "--workers", "3"]);
    same_tables(&expected, &path("three"), "3 workers");
    // killed behind any checkpoint, the deciding snapshot before or behind it
    let tokens = history.last().unwrap().tokens;
    for part in [3, 7, 9] {
        let out = path(&format!("at-{part}"));
        crate::kill::kill_after(&flow, &out, tokens * part / 10);
        run(&flow, &out, &["--quiet"]);
        same_tables(&expected, &out, &format!("stopped at {part} tenths"));
    }
    let status = cognate().arg("status").arg(path("one")).output().unwrap();
    assert!(String::from_utf8_lossy(&status.stdout).contains("finished, converged"));
    // done as long as the rule is there; without it, the run resumes
    let said = String::from_utf8_lossy(&run(&flow, &path("one"), &[]).stderr).into_owned();
    assert!(said.contains("is complete"), "{said}");
    let text = std::fs::read_to_string(&flow).unwrap();
    std::fs::write(&flow, text.replace("stop_when", "# stop_when")).unwrap();
    run(&flow, &path("one"), &["--quiet", "--max-tokens", &(tokens + 2_000).to_string()]);
    let rows: Vec<HistoryRow> =
        TableReader::open(&path("one").join("tables/history.parquet")).unwrap().read_all().unwrap();
    assert!(rows.last().unwrap().tokens >= tokens + 2_000);
}
