//! How fast are state files and tables written and read? Needs 3 GB of disk.

use crate::matches::write_matches;
use cognate::store::{Manifest, RunDir, StateLayout, inspect, write_atomic};
use cognate::table::{MatchRow, TableReader, compare};
use std::time::Instant;

/// One state file of 1 GiB, and two tables of two million matches.
pub fn state_and_tables() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let run = RunDir::open_or_create(dir.path()).unwrap();
    let n = 1usize << 27;
    let values = vec![0.5f64; n / 4];
    let timed = |what: &str, bytes: f64, f: &mut dyn FnMut()| {
        let start = Instant::now();
        f();
        let s = start.elapsed().as_secs_f64();
        println!("{what}: {s:.3} s, {:.0} MB/s", bytes / s / 1e6);
    };
    let mut file = None;
    timed("state written, digested and synced (1 GiB)", (8 * n) as f64, &mut || {
        let layout = StateLayout::new(serde_json::Value::Null).tensor::<f64>("xy", &[n]);
        let mut w = run.write_state(1, "tile", layout).unwrap();
        (0..4).for_each(|_| w.put("xy", &values).unwrap());
        file = Some(w.finish().unwrap());
    });
    drop(values);
    let file = file.unwrap();
    let mut manifest = Manifest::new("f00d".into(), [("seed".into(), "0".into())].into());
    manifest.next_batch = 1;
    manifest.files.insert(file.path, file.record);
    timed("commit", 0.0, &mut || run.commit(&manifest).unwrap());
    timed("inspect: digest of 1 GiB", (8 * n) as f64, &mut || drop(inspect(&run).unwrap()));
    timed("state read (1 GiB)", (8 * n) as f64, &mut || {
        assert_eq!(run.read_state(&manifest, "tile").unwrap().tensor::<f64>("xy").unwrap().len(), n);
    });
    let [a, b] = ["matches", "matches again"].map(|name| run.root().join(format!("{name}.parquet")));
    timed("2 M match rows written", 2e6, &mut || write_matches(&a, 2_000_000).unwrap());
    write_matches(&b, 1_999_999).unwrap();
    println!("  {} bytes", std::fs::metadata(&a).unwrap().len());
    timed("2 M match rows read as structs", 2e6, &mut || {
        let mut reader = TableReader::<MatchRow>::open(&a).unwrap();
        while reader.next_rows().unwrap().is_some() {}
    });
    timed("2 M rows compared with 2 M", 4e6, &mut || assert_eq!(compare(&a, &b).unwrap().n_only, [1, 0]));
    write_atomic(&run.report(), b"").unwrap();
}
