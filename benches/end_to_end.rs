//! How long does a run take, from its dataflow file to its published tables? The demo's first 20 000 tokens through the
//! command itself, with one pair and with all nine, and the one pair with its scores and nulls.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const TOKENS: u64 = 20_000;

fn run(flow: &Path, out: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_cognate"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("run")
        .arg(flow)
        .arg("--out")
        .arg(out)
        .args(["--fresh", "--quiet", "--max-tokens", &TOKENS.to_string()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn end_to_end(c: &mut Criterion) {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let one = home.join("benches/peers/one.toml");
    let scored = folder.path().join("scored.toml");
    let text = std::fs::read_to_string(&one).unwrap().replace(
        "snapshot_every = 1_000_000",
        "snapshot_every = 10_000\nmeasures = [\"svcca\", \"cka\"]\nactivation_measures = [\"svcca\", \"cka\"]",
    );
    std::fs::write(&scored, text).unwrap();
    let mut group = c.benchmark_group("run");
    group.throughput(Throughput::Elements(TOKENS));
    for (name, flow) in [
        ("one pair", one.clone()),
        ("nine pairs", home.join("benches/peers/nine.toml")),
        ("one pair with scores and nulls", scored),
    ] {
        let out = folder.path().join(name.replace(' ', "-"));
        group.bench_function(name, |b| b.iter(|| run(&flow, &out)));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(10));
    targets = end_to_end
}
criterion_main!(benches);
