//! The machine's limits: memory that does not grow with the corpus, a disk that is full.

use crate::bench_rig::{SKETCHED, cognate, project, run, same_tables, skip, small_demo, tables};
use crate::common::SmallDisk;
use std::path::Path;
use std::process::Command;

/// The summary of a run with `--json`.
fn summary(output: &std::process::Output) -> serde_json::Value {
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|l| serde_json::from_str(l).ok())
        .find(|v: &serde_json::Value| v["event"] == "summary")
        .expect("a summary is printed")
}

/// Peak resident memory of a run over `times` copies of the corpus in `text`, in bytes, from its JSON summary.
fn peak(folder: &Path, text: &Path, times: usize) -> f64 {
    let copies: Vec<String> = (0..times)
        .map(|k| {
            let copy = folder.join(format!("copy-{k}.jsonl"));
            std::fs::copy(text, &copy).unwrap();
            format!("{:?}", copy.to_str().unwrap())
        })
        .collect();
    let files = format!("files = [{}]", copies.join(", "));
    let changes = [
        ("files = [\"data/demo/corpus.jsonl\"]", files.as_str()),
        ("max_tokens = 12_000", "max_tokens = 0"),
        ("snapshot_every = 3_000", "snapshot_every = 20_000"),
        ("\nevery = 1_000", "\nevery = 100_000"),
    ];
    let flow = small_demo(folder, &changes);
    let output = run(&flow, &folder.join("run"), &["--json", "--fresh"]);
    let summary = summary(&output);
    assert!(summary["tokens"].as_f64().unwrap() > 50_000.0 * times as f64);
    summary["speed"]["peak_bytes"].as_f64().expect("this machine tells")
}

/// The same text again brings no new latents to life, so what more there is would have grown with the corpus. The system
/// and the threads' timing only ever add to a peak: the least of a few runs counts.
#[test]
fn memory_does_not_grow_with_the_corpus() {
    if !cfg!(target_os = "linux") {
        return skip("peak memory is read where Linux keeps it");
    }
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read_to_string(project().join("data/demo/corpus.jsonl")).unwrap();
    let text = folder.path().join("corpus.jsonl");
    std::fs::write(&text, whole.split_inclusive('\n').take(100).collect::<String>()).unwrap();
    let (mut once, mut four) = (f64::MAX, f64::MAX);
    for attempt in 1..=4 {
        once = once.min(peak(folder.path(), &text, 1));
        four = four.min(peak(folder.path(), &text, 4));
        println!("peak memory, least of {attempt}: {:.1} MB once, {:.1} MB four times", once / 1e6, four / 1e6);
        if four < once * 1.05 {
            return;
        }
    }
    panic!("the corpus four times over takes {:.1} % more", (four / once - 1.0) * 100.0);
}

/// One line of 100 MB, of which a run needs the beginning: it is looked through, and its text read piece by piece.
#[test]
fn one_document_of_100_mb_stays_within_the_plan() {
    if !cfg!(target_os = "linux") {
        return skip("peak memory is read where Linux keeps it");
    }
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("corpus.jsonl");
    let part = serde_json::to_string(&demo_texts()).unwrap();
    let part = &part[1..part.len() - 1];
    let line = format!("{{\"text\": \"{}\", \"lang\": \"en\"}}\n", part.repeat(100_000_000 / part.len()));
    assert!(line.len() > 90_000_000);
    std::fs::write(&text, line).unwrap();
    let changes = [("data/demo/corpus.jsonl", text.to_str().unwrap()), ("max_tokens = 12_000", "max_tokens = 4_000")];
    let flow = small_demo(folder.path(), &changes);
    let tokens = stays_within_the_plan(&flow, &folder.path().join("run"));
    assert!(tokens >= 4_000.0, "{tokens}");
}

/// Runs a dataflow whose peak must not exceed its plan; the tokens that it read.
fn stays_within_the_plan(flow: &Path, out: &Path) -> f64 {
    stays_within_the_plan_of(flow, out, &[])
}

/// The same with flags that do not change the plan.
fn stays_within_the_plan_of(flow: &Path, out: &Path, more: &[&str]) -> f64 {
    let plan = cognate().args(["plan", "--json"]).arg(flow).output().unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    let output = run(flow, out, &[&["--json"], more].concat());
    let summary = summary(&output);
    let (promised, peak) = (plan["memory_bytes"].as_f64().unwrap(), summary["speed"]["peak_bytes"].as_f64().unwrap());
    println!("peak memory {:.1} MB, {:.1} MB promised", peak / 1e6, promised / 1e6);
    assert!(peak <= promised, "{peak} bytes, {promised} promised");
    summary["tokens"].as_f64().unwrap()
}

/// The demo's `small-a`, `times` as wide, with values of f32 that follow a pattern.
fn wide_model(folder: &Path, times: usize) {
    let small = project().join("data/demo/models/small-a");
    std::fs::create_dir_all(folder).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(small.join(name), folder.join(name)).unwrap();
    }
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(small.join("config.json")).unwrap()).unwrap();
    let n_vocab = config["vocab_size"].as_u64().unwrap();
    for key in ["hidden_size", "intermediate_size", "num_attention_heads"] {
        config[key] = (config[key].as_u64().unwrap() * times as u64).into();
    }
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let bytes = std::fs::read(small.join("model.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let (mut wide, mut at) = (serde_json::Map::new(), 0);
    for (name, tensor) in header.iter().filter(|(name, _)| *name != "__metadata__") {
        let shape: Vec<u64> = (tensor["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()))
            .map(|n| if n == n_vocab { n } else { n * times as u64 })
            .collect();
        let end = at + 4 * shape.iter().product::<u64>();
        wide.insert(name.clone(), serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [at, end]}));
        at = end;
    }
    let header = serde_json::to_vec(&wide).unwrap();
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header);
    out.extend((0..at / 4).flat_map(|k| (((k * 2_654_435_761 % 1000) as f32 - 500.0) / 20_000.0).to_le_bytes()));
    std::fs::write(folder.join("model.safetensors"), out).unwrap();
}

/// Weights are copied out of a mapped file, whose pages count as memory of the process until they are given back.
#[test]
fn a_model_that_is_most_of_the_memory_stays_within_the_plan() {
    if !cfg!(target_os = "linux") {
        return skip("peak memory is read where Linux keeps it");
    }
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("wide");
    wide_model(&model, 8);
    let flow = folder.path().join("flow.toml");
    let text = format!(
        r#"format = 1
name = "wide"
[corpus]
files = ["{}/data/demo/corpus.jsonl"]
context_length = 32
batch_contexts = 2
max_tokens = 128
[models]
a = {{ path = {model:?} }}
b = {{ path = {model:?} }}
[compare]
pairs = [["a/resid_post.3", "b/resid_post.2"]]
"#,
        project().display()
    );
    std::fs::write(&flow, text).unwrap();
    assert!(stays_within_the_plan(&flow, &folder.path().join("run")) >= 128.0);
}

#[test]
fn a_full_disk_is_named_and_the_run_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let Some(mounted) = SmallDisk::mount(&disk, "2m") else { return };
    let flow = small_demo(folder.path(), &[]);
    let out = disk.join("run");
    // what cannot be is known before the start
    let refused = cognate().args(["run", "--quiet", "--out"]).arg(&out).arg(&flow).output().unwrap();
    let refused_for = String::from_utf8_lossy(&refused.stderr).into_owned();
    let untouched = !out.exists();
    let output =
        cognate().args(["run", "--quiet", "--disk-limit", "1GiB", "--out"]).arg(&out).arg(&flow).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let leftovers = |dir: &Path| -> Vec<String> {
        let mut found = Vec::new();
        let mut waiting = vec![dir.to_path_buf()];
        while let Some(d) = waiting.pop() {
            for e in std::fs::read_dir(d).into_iter().flatten().flatten() {
                if e.path().is_dir() {
                    waiting.push(e.path())
                } else {
                    found.push(e.file_name().to_string_lossy().into_owned())
                }
            }
        }
        found
    };
    let code = output.status.code();
    let names = leftovers(&out);
    mounted.grow("200m");
    let resumed = cognate().args(["run", "--quiet", "--out"]).arg(&out).arg(&flow).output().unwrap();
    let kept = folder.path().join("kept");
    let copied = Command::new("cp").arg("-r").arg(&out).arg(&kept).status().unwrap().success();
    drop(mounted);
    assert_eq!((refused.status.code(), untouched), (Some(5), true), "{refused_for}");
    assert!(refused_for.contains("the limit is 2.00 MiB") && refused_for.contains("--disk-limit"), "{refused_for}");
    assert_eq!(code, Some(5), "{said}");
    let line = said.lines().next().unwrap();
    assert!(line.starts_with("error: ") && line.contains("space") && line.contains("free"), "{said}");
    assert!(!names.is_empty());
    assert!(resumed.status.success() && copied, "{}", String::from_utf8_lossy(&resumed.stderr));
    let whole = folder.path().join("whole");
    run(&flow, &whole, &["--quiet"]);
    same_tables(&tables(&whole), &kept, "after the disk was full");
}

/// The same document as one row of a Parquet file, whose page is decoded whole: that is in the plan. Its text is read piece by piece.
#[test]
fn one_row_of_100_mb_stays_within_the_plan() {
    use parquet::arrow::ArrowWriter;
    if !cfg!(target_os = "linux") {
        return skip("peak memory is read where Linux keeps it");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("corpus.parquet");
    let part = demo_texts();
    let text = part.repeat(100_000_000 / part.len());
    assert!(text.len() > 90_000_000);
    {
        let column = |text: String| -> arrow::array::ArrayRef {
            std::sync::Arc::new(arrow::array::StringArray::from(vec![text]))
        };
        let columns = vec![("text", column(text)), ("lang", column("en".into()))];
        let batch = arrow::array::RecordBatch::try_from_iter(columns).unwrap();
        let codec = parquet::basic::Compression::ZSTD(Default::default());
        let properties = parquet::file::properties::WriterProperties::builder().set_compression(codec).build();
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
    let changes = [("data/demo/corpus.jsonl", path.to_str().unwrap()), ("max_tokens = 12_000", "max_tokens = 4_000")];
    let flow = small_demo(folder.path(), &changes);
    let begun = std::time::Instant::now();
    let tokens = stays_within_the_plan(&flow, &folder.path().join("run"));
    // the whole text would be some 30 million tokens
    assert!((4_000.0..6_000.0).contains(&tokens), "{tokens}");
    println!("one row of 100 MB: {:.1} s", begun.elapsed().as_secs_f64());
}

/// The texts of the demo's corpus, one behind the other.
fn demo_texts() -> String {
    let demo = std::fs::read_to_string(project().join("data/demo/corpus.jsonl")).unwrap();
    let of =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["text"].as_str().unwrap().to_string();
    demo.lines().map(of).collect::<Vec<_>>().join("\n")
}

/// What each kind of run holds at most, against what it was measured to hold.
#[test]
fn runs_of_every_kind_stay_within_the_plan() {
    if !cfg!(target_os = "linux") {
        return skip("peak memory is read where Linux keeps it");
    }
    let folder = tempfile::tempdir().unwrap();
    let raw = (
        "pairs = \"all\"",
        "pairs = \"all\"\nhookpoints = [\"small-a/embed\", \"small-a/resid_post.3\", \"small-b/resid_post.1\"]",
    );
    let remembers = ("[estimate]", "[estimate]\ntop_tokens = 1000\ntop_context = [10, 10]");
    for (name, changes) in [
        ("exact", &[][..]),
        ("sketched", &[SKETCHED][..]),
        ("raw", &[raw]),
        ("strong tokens", &[remembers, ("max_tokens = 12_000", "max_tokens = 4_000")]),
    ] {
        println!("{name}");
        let flow = small_demo(folder.path(), changes);
        assert!(stays_within_the_plan(&flow, &folder.path().join(name)) >= 4_000.0, "{name}");
    }
    // the demo as it is
    println!("demo");
    let flow = project().join("dataflows/demo.toml");
    let tokens = stays_within_the_plan_of(&flow, &folder.path().join("demo"), &["--max-tokens", "8000"]);
    assert!(tokens >= 8_000.0, "{tokens}");
}

/// One batch that may have 2^20 contexts is the whole corpus, and is planned as what the corpus can give.
#[test]
fn the_largest_batches_stay_within_a_plan_that_knows_the_corpus() {
    if !cfg!(target_os = "linux") {
        return skip("peak memory is read where Linux keeps it");
    }
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("corpus.jsonl");
    let demo = std::fs::read_to_string(project().join("data/demo/corpus.jsonl")).unwrap();
    std::fs::write(&text, demo.split_inclusive('\n').take(40).collect::<String>()).unwrap();
    let changes = [
        ("data/demo/corpus.jsonl", text.to_str().unwrap()),
        ("batch_contexts = 8", "batch_contexts = 1_048_576"),
        ("[checkpoint]", "[check]\ndoctor = \"off\"\n[checkpoint]"),
    ];
    let flow = small_demo(folder.path(), &changes);
    let tokens = stays_within_the_plan(&flow, &folder.path().join("run"));
    assert!(tokens > 12_000.0, "{tokens}");
    let plan = cognate().args(["plan", "--json"]).arg(&flow).output().unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    assert!(plan["memory_bytes"].as_f64().unwrap() < 4e9, "{plan}");
}
