//! `cognate plan --measure --machines`: what a run would do on several machines.

use crate::bench_rig::{cognate, run, small_demo};

fn planned(args: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(folder.path(), &[]);
    let output = cognate().arg("plan").arg(&flow).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn several_machines_are_estimated_from_one_batch() {
    let (code, out, said) = planned(&["--json", "--measure", "--machines", "6", "--network", "1"]);
    assert_eq!(code, 0, "{said}");
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    let (measured, machines) = (&found["measured"], found["measured"]["machines"].as_array().unwrap());
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or_else(|| panic!("{value}"));
    let numbers: Vec<u64> = machines.iter().map(|m| m["machines"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 4, 6]);
    // a batch of some thousand tokens carries its ids and its latents
    let of = |name: &str| number(&measured["per_token"][name]);
    assert!(
        (100.0..1e6).contains(&of("message")) && of("encode") > 0.0 && of("fold") > 0.0 && of("read") > 0.0,
        "{measured}"
    );
    let speeds: Vec<f64> = machines.iter().map(|m| number(&m["tokens_a_second"])).collect();
    let busy = of("encode") + of("moments") + of("fold");
    assert!((speeds[0] * busy - 1.0).abs() < 1e-9 || machines[0]["bound"] == "reading", "{measured}");
    for (n, m) in numbers.iter().zip(machines).skip(1) {
        let others = (*n - 1) as f64 / *n as f64;
        let network = number(&m["tokens_a_second"]) * of("message") * others;
        assert!((number(&m["network"]) / network - 1.0).abs() < 1e-9 && network <= 1.001e9 / 8.0, "{m}");
        assert!(number(&m["memory"]) < number(&machines[0]["memory"]), "{m}");
    }
    assert_eq!(number(&machines[0]["network"]), 0.0);
    // in words
    let (code, out, _) = planned(&["--measure", "--machines", "2"]);
    let lines = out.lines().filter(|line| line.contains("tokens a second")).count();
    assert!(code == 0 && lines == 2 && out.contains("  1 machine "), "{out}");
}

/// Of a short corpus the rows are counted: the bytes behind one batch said little of the whole where texts wait to be cut.
#[test]
fn a_short_corpus_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read_to_string(crate::bench_rig::project().join("data/demo/corpus.jsonl")).unwrap();
    let text = folder.path().join("corpus.jsonl");
    std::fs::write(&text, whole.split_inclusive('\n').take(12).collect::<String>()).unwrap();
    let changes = [("data/demo/corpus.jsonl", text.to_str().unwrap()), ("max_tokens = 12_000", "max_tokens = 0")];
    let flow = small_demo(folder.path(), &changes);
    let output = cognate().args(["plan", "--json", "--measure"]).arg(&flow).output().unwrap();
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let ran = run(&flow, &folder.path().join("out"), &["--json"]);
    let summary = String::from_utf8_lossy(&ran.stdout).lines().last().unwrap().to_string();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(found["measured"]["expected_tokens"], summary["tokens"], "{found}");
}

#[test]
fn what_cannot_be_thought_of_is_refused() {
    for (args, words) in [
        (&["--machines", "2"][..], "--measure"),
        (&["--measure", "--machines", "0"], "expected 1 or more"),
        (&["--measure", "--network", "1"], "--machines"),
        (&["--measure", "--machines", "2", "--network", "0"], "above 0"),
        (&["--measure", "--machines", "2", "--devices", "2"], "no model of the dataflow file has a device"),
    ] {
        let (code, _, said) = planned(args);
        assert!(code == 2 && said.contains(words), "{args:?}: {said}");
    }
}
