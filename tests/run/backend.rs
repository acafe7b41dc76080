//! The same run by the tensor library: what its numbers promise, and what is refused.

use crate::bench_rig::{cognate, end, matches, run, same_tables, small_demo, tables};
use crate::determinism::{hosts, starting};
use cognate::matching::Direction;
use cognate::table::{RowPairing, SimilarityRow, TableReader};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The small demo with keys added to both models.
fn demo_with(folder: &Path, keys: &str, more: &[(&str, &str)]) -> PathBuf {
    let paths = ["data/demo/models/small-a", "data/demo/models/small-b"].map(|path| format!("path = \"{path}\"\n"));
    let added = paths.clone().map(|path| format!("{path}{keys}\n"));
    let mut replace: Vec<(&str, &str)> = paths.iter().zip(&added).map(|(a, b)| (a.as_str(), b.as_str())).collect();
    replace.extend(more);
    small_demo(folder, &replace)
}

#[test]
fn the_tensor_library_finds_the_matches_that_the_kernels_find() {
    let folder = tempfile::tempdir().unwrap();
    let found = |name: &str, keys: &str| {
        let out = folder.path().join(name);
        run(&demo_with(folder.path(), keys, &[]), &out, &["--quiet"]);
        let of = |m: cognate::table::MatchRow| {
            let key = (m.pair.source.to_string(), m.pair.target.to_string(), m.direction == Direction::Forward);
            Some(((key, m.picker()?, m.rank), (m.source_latent, m.target_latent, m.correlation?)))
        };
        matches(&out).into_iter().filter_map(of).collect::<BTreeMap<_, _>>()
    };
    let (ours, theirs) = (found("kernels", ""), found("candle", "backend = \"candle\""));
    assert!(ours.len() > 5_000, "{}", ours.len());
    // a top-k choice between near equals may fall the other way: some firings of few latents
    let (mut partners, mut worst) = (0, Vec::new());
    for (key, (source, target, r)) in &ours {
        let Some((s, t, q)) = theirs.get(key) else { continue };
        partners += usize::from((source, target) == (s, t));
        worst.push((r - q).abs());
    }
    worst.sort_by(f64::total_cmp);
    let (median, most) = (worst[worst.len() / 2], worst[worst.len() * 99 / 100]);
    println!("{partners} of {} partners, r differs by {median:.1e}, 99 % within {most:.1e}", ours.len());
    assert!(partners as f64 > 0.99 * ours.len() as f64 && median < 1e-6 && most < 2e-3);
}

#[test]
fn the_tensor_library_gives_the_same_bytes_for_any_workers_and_threads() {
    let folder = tempfile::tempdir().unwrap();
    let flow = demo_with(folder.path(), "backend = \"candle\"", &[("max_tokens = 12_000", "max_tokens = 6_000")]);
    let first = folder.path().join("first");
    run(&flow, &first, &["--quiet", "--workers", "1", "--in-flight", "1"]);
    let expected = tables(&first);
    for (workers, threads, at_once) in [("2", "1", "1"), ("3", "2", "2"), ("1", "2", "3")] {
        let out = folder.path().join(format!("w{workers}t{threads}"));
        let mut command = cognate();
        command.env("RAYON_NUM_THREADS", threads).args(["run", "--quiet", "--workers", workers]);
        command.args(["--encode-at-once", at_once, "--out"]);
        assert!(command.arg(&out).arg(&flow).status().unwrap().success());
        same_tables(&expected, &out, &format!("{workers} workers, {threads} threads, {at_once} at once"));
    }
    // two devices that take turns, each with its own copy of models and encoders
    let out = folder.path().join("devices");
    run(&flow, &out, &["--quiet", "--workers", "2", "--devices", "cpu,cpu"]);
    same_tables(&expected, &out, "on two devices");
    // in two parts
    let out = folder.path().join("parts");
    run(&flow, &out, &["--quiet", "--max-tokens", "3000", "--encode-at-once", "2"]);
    run(&flow, &out, &["--quiet"]);
    same_tables(&expected, &out, "stopped at 3 000 tokens and resumed");
}

/// Only some processes have a device: the others encode nothing, load no model, and keep their share of the sums.
#[test]
fn a_process_without_a_device_leaves_the_encode_to_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let shorter =
        [("max_tokens = 12_000", "max_tokens = 6_000"), ("[checkpoint]", "[check]\ndoctor = \"off\"\n[checkpoint]")];
    let flow = demo_with(folder.path(), "backend = \"candle\"", &shorter);
    let alone = folder.path().join("alone");
    run(&flow, &alone, &["--quiet"]);
    let expected = tables(&alone);
    let given = |hosts: &Path, out: &Path, flow: &Path, devices: [&str; 2], workers: usize| {
        let child = |i: usize| {
            let mut command = starting(flow, out, hosts, 2, i, workers);
            command.args(["--devices", devices[i]]).spawn().unwrap()
        };
        [child(0), child(1)].map(|child| end(child, Duration::from_secs(300), "two processes"))
    };
    for (devices, workers) in [(["cpu", "none"], 2), (["none", "cpu,cpu"], 2), (["cpu", "cpu"], 1)] {
        let out = folder.path().join(format!("{}-{}", devices[0], devices[1]));
        for output in given(&hosts(folder.path(), 2), &out, &flow, devices, workers) {
            assert!(output.status.success(), "{devices:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        same_tables(&expected, &out, &format!("{devices:?}"));
    }
    // nobody has one
    let out = folder.path().join("nobody");
    for output in given(&hosts(folder.path(), 2), &out, &flow, ["none", "none"], 1) {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("all processes were started with --devices none"), "{said}");
    }
    // process 0 tries the SAEs
    let flow = demo_with(folder.path(), "backend = \"candle\"", &shorter[..1]);
    let [zero, one] = given(&hosts(folder.path(), 2), &folder.path().join("doctor"), &flow, ["none", "cpu"], 1);
    let said = String::from_utf8_lossy(&zero.stderr).into_owned();
    assert!(zero.status.code() == Some(2) && said.contains("process 0 tries the SAEs"), "{said}");
    assert_eq!(one.status.code(), Some(5), "{}", String::from_utf8_lossy(&one.stderr));
}

/// What is compared of raw activations, by sums that are made where the rows lie, is what the kernels' rows give.
#[test]
fn raw_activations_are_as_similar_by_the_tensor_library() {
    let folder = tempfile::tempdir().unwrap();
    let found = |name: &str, keys: &str| {
        let out = folder.path().join(name);
        let more =
            [("pairs = \"all\"", "pairs = \"all\"\nhookpoints = [\"small-a/resid_post.3\", \"small-b/resid_post.1\"]")];
        run(&demo_with(folder.path(), keys, &more), &out, &["--quiet"]);
        let rows: Vec<SimilarityRow> =
            TableReader::open(&out.join("tables/similarities.parquet")).unwrap().read_all().unwrap();
        let of_rows = rows.into_iter().filter(|row| row.pairing == RowPairing::Activations);
        of_rows
            .map(|row| {
                (format!("{} x {} {}", row.pair.source, row.pair.target, row.measure), [row.value, row.null_mean])
            })
            .collect::<BTreeMap<_, _>>()
    };
    let (ours, theirs) = (found("kernels", ""), found("candle", "backend = \"candle\""));
    assert!(ours.len() >= 4 && ours.keys().eq(theirs.keys()), "{ours:?} {theirs:?}");
    for (what, values) in &ours {
        for (a, b) in values.iter().zip(theirs[what]) {
            let (a, b) = (a.unwrap(), b.unwrap());
            // both forwards round in f32, and co-moments are of 12 000 rows
            assert!((a - b).abs() < 1e-5, "{what}: {a} and {b}");
        }
    }
}

#[test]
fn what_cannot_be_computed_so_is_refused_before_it_begins() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |keys: &str| {
        let flow = demo_with(folder.path(), keys, &[]);
        let output = cognate().arg("plan").arg(&flow).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{keys}: {said}");
        said
    };
    for (keys, words) in [
        ("device = \"cuda:0\"", "add backend = \"candle\""),
        ("dtype = \"f16\"", "multiply f32 and bf16 only"),
        ("backend = \"candle\"\ndtype = \"bf16\"", "does not multiply on the CPU"),
        ("backend = \"torch\"", "kernels"),
        ("device = \"gpu\"", "\"cuda:0\" for the first CUDA device"),
    ] {
        let said = refused(keys);
        assert!(said.contains(words) && said.contains("models.small-a"), "{keys}: {said}");
    }
    if !cognate::device::HAS_CUDA {
        let said = refused("backend = \"candle\"\ndevice = \"cuda:0\"");
        assert!(said.contains("built without CUDA"), "{said}");
    }
    // devices of the command line
    for (keys, args, words) in [
        (
            "backend = \"candle\"",
            &["--devices", "cpu,cpu"][..],
            "--workers is 1; each worker uses one device: give --workers 2",
        ),
        ("backend = \"candle\"", &["--devices", "cuda:0"], "write device = \"cuda:0\" in the dataflow file"),
        ("", &["--devices", "cpu"], "no model has backend = \"candle\""),
        ("", &["--devices", "gpu:0"], "\"cuda:0\" for the first CUDA device"),
        ("", &["--devices", "none"], "no model has backend = \"candle\""),
        ("backend = \"candle\"", &["--devices", "none"], "this is the only process of the run"),
        ("", &["--encode-at-once", "0"], "expected 1 to 16"),
    ] {
        let flow = demo_with(folder.path(), keys, &[]);
        let out = folder.path().join("refused");
        let output = cognate().args(["run", "--out"]).arg(&out).args(args).arg(&flow).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(words) && !out.exists(), "{args:?}: {said}");
    }
    // what is planned says with what
    let flow = demo_with(folder.path(), "backend = \"candle\"\ndtype = \"f16\"", &[]);
    let output = cognate().arg("plan").arg(&flow).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("by candle on cpu in f16"), "{said}");
}
