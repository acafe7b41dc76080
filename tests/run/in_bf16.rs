//! Runs in bf16: how near their matches are to those in f32, and what they promise as every run does.

use crate::bench_rig::{cognate, matches, project, run, same_tables, small_demo, tables};
use crate::common::in_bf16;
use crate::kill::killed_and_taken_up;
use crate::merge::{flow, merge, shards};
use cognate::matching::Direction;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MODELS: [&str; 2] = ["path = \"data/demo/models/small-a\"", "path = \"data/demo/models/small-b\""];
const HALVES: [&str; 2] =
    ["path = \"data/demo/models/small-a\"\ndtype = \"bf16\"", "path = \"data/demo/models/small-b\"\ndtype = \"bf16\""];

/// The check of the SAEs reads more tokens than these tests do.
const UNCHECKED: (&str, &str) = ("[checkpoint]", "[check]\ndoctor = \"off\"\n[checkpoint]");

/// The small demo in f32, without the check of the SAEs.
fn in_f32(folder: &Path, more: &[(&str, &str)]) -> PathBuf {
    let replace: Vec<_> = more.iter().copied().chain([UNCHECKED]).collect();
    small_demo(folder, &replace)
}

/// The same, both models in bf16.
fn demo(folder: &Path, more: &[(&str, &str)]) -> PathBuf {
    let replace: Vec<_> = MODELS.into_iter().zip(HALVES).chain(more.iter().copied()).collect();
    in_f32(folder, &replace)
}

/// Source, target and r, by pair and direction, the latent that picks, and rank.
type Partners = BTreeMap<((String, String, bool), u32, u32), (Option<u32>, Option<u32>, f64)>;

fn partners(run: &Path) -> Partners {
    let of = |m: cognate::table::MatchRow| {
        let key = (m.pair.source.to_string(), m.pair.target.to_string(), m.direction == Direction::Forward);
        Some(((key, m.picker()?, m.rank), (m.source_latent, m.target_latent, m.correlation?)))
    };
    matches(run).into_iter().filter_map(of).collect()
}

#[test]
fn partners_in_bf16_are_those_in_f32() {
    if !in_bf16("in_bf16::partners_in_bf16_are_those_in_f32") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [whole, half] = ["f32", "bf16"].map(|name| folder.path().join(name));
    run(&in_f32(folder.path(), &[]), &whole, &["--quiet"]);
    run(&demo(folder.path(), &[]), &half, &["--quiet"]);
    let (whole, half) = (partners(&whole), partners(&half));
    // the best partner of each latent; those behind it are nearer to each other
    let best: Vec<_> = whole.iter().filter(|((.., rank), _)| *rank == 1).collect();
    let (mut same, mut offs) = (0, Vec::new());
    for (key, (source, target, r)) in &best {
        let Some((s, t, q)) = half.get(key) else { continue };
        same += usize::from((source, target) == (s, t));
        offs.push((r - q).abs());
    }
    offs.sort_by(f64::total_cmp);
    let (median, most) = (offs[offs.len() / 2], offs[offs.len() * 99 / 100]);
    println!("{same} of {} best partners are the same; r differs by {median:.1e}, 99 % within {most:.1e}", best.len());
    // measured: 99.2 %, 3.5e-4
    assert!(best.len() > 4_000 && offs.len() > best.len() * 99 / 100, "{} of {}", offs.len(), best.len());
    assert!(same as f64 >= 0.99 * best.len() as f64 && median <= 2e-3, "{same} of {}, {median:.1e}", best.len());
}

/// Bytes that do not depend on workers, threads and kills; what `score` makes of its sums is what the run made.
#[test]
fn a_run_in_bf16_gives_the_same_bytes_however_it_is_run() {
    if !in_bf16("in_bf16::a_run_in_bf16_gives_the_same_bytes_however_it_is_run") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // few tokens: where the instruction is emulated, products take four times as long
    let few = [
        ("max_tokens = 12_000", "max_tokens = 1_500"),
        ("snapshot_every = 3_000", "snapshot_every = 500"),
        ("every = 1_000", "every = 300"),
    ];
    let flow = demo(folder.path(), &few);
    let first = folder.path().join("first");
    run(&flow, &first, &["--quiet", "--workers", "1", "--in-flight", "1"]);
    let expected = tables(&first);
    let out = folder.path().join("w3t2");
    let mut command = cognate();
    command.env("RAYON_NUM_THREADS", "2").args(["run", "--quiet", "--workers", "3", "--out"]);
    assert!(command.arg(&out).arg(&flow).status().unwrap().success());
    same_tables(&expected, &out, "3 workers, 2 threads");
    let scored = folder.path().join("scored");
    let output = cognate().arg("score").arg(&first).arg("--out").arg(&scored).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // scored once, at the end
    let mut but_history = expected.clone();
    but_history.insert("history.parquet".into(), tables(&scored)["history.parquet"].clone());
    same_tables(&but_history, &scored, "scored");
    killed_and_taken_up(folder.path(), &flow, 2);
    // f32 does not go on where bf16 was
    let out = folder.path().join("first");
    let whole = in_f32(folder.path(), &[few[1], few[2], ("max_tokens = 12_000", "max_tokens = 2_000")]);
    let output = cognate().arg("run").arg(&whole).arg("--out").arg(&out).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("models.small-a.dtype") && said.contains("bf16") && said.contains("f32"), "{said}");
    same_tables(&expected, &out, "left as it was");
}

#[test]
fn a_run_in_bf16_is_not_merged_with_one_in_f32() {
    if !in_bf16("in_bf16::a_run_in_bf16_is_not_merged_with_one_in_f32") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let files = shards(folder.path(), 2);
    let path = |name: &str| folder.path().join(name);
    for (name, file, model) in [("a", &files[0], MODELS[0]), ("b", &files[1], HALVES[0])] {
        let flow = flow(folder.path(), &format!("flow-{name}"), &[file.as_path()]);
        let text = std::fs::read_to_string(&flow).unwrap().replace(UNCHECKED.0, UNCHECKED.1);
        std::fs::write(&flow, text.replace(MODELS[0], model)).unwrap();
        run(&flow, &path(name), &["--quiet"]);
    }
    let (code, said) = merge(&[&path("a"), &path("b")], &path("x"));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("models.small-a.dtype is \"bf16\" there, \"f32\" here") && !path("x").exists(), "{said}");
}

/// Halves where weights are, and the plan says so.
#[test]
fn a_plan_in_bf16_takes_half_for_weights_and_says_so() {
    if !in_bf16("in_bf16::a_plan_in_bf16_takes_half_for_weights_and_says_so") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let planned = |flow: &Path, more: &[&str]| {
        let output = cognate().arg("plan").arg(flow).args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let bytes = |flow: &Path, what: &str| {
        let json: serde_json::Value = serde_json::from_str(&planned(flow, &["--json"])).unwrap();
        let costs = json["costs"].as_array().unwrap();
        assert!(costs.iter().all(|c| !c["what"].as_str().unwrap().starts_with("screen")) || what == "f32");
        let of = |kind: &str| {
            let found =
                costs.iter().find(|c| c["what"].as_str().unwrap().starts_with(kind)).expect("a part of the plan");
            found["memory_bytes"].as_u64().unwrap()
        };
        (json["models"][0]["dtype"].as_str().unwrap().to_string(), of("model small-a"), of("sae small-a/resid_post.1"))
    };
    let whole = bytes(&in_f32(folder.path(), &[]), "f32");
    let flow = demo(folder.path(), &[]);
    assert!(planned(&flow, &[]).contains("; in bf16"), "{}", planned(&flow, &[]));
    let half = bytes(&flow, "bf16");
    assert_eq!((whole.0.as_str(), half.0.as_str(), half.1), ("f32", "bf16", whole.1 / 2));
    let shape = cognate::sae::header(&project().join("data/demo/saes/small-a/layers.1"), None).unwrap();
    assert_eq!(whole.2 - half.2, 2 * (shape.d_in * shape.d_sae) as u64);
}
