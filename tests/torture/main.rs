//! What is done to a run on purpose: calls of the system that fail, processes that are killed and stopped, disks that are full.
//!
//! A slice of it here. All of it: `tests/torture/run.sh`, which ends with the table of `benches/README.md`. Damaged inputs are in
//! `tests/hostile`, power cuts between two steps of a commit in `src/store`.

#[allow(dead_code, unused_imports, reason = "shared with tests/run")]
#[path = "../run/bench_rig.rs"]
mod bench_rig;
mod clocks;
#[path = "../common/mod.rs"]
mod common;
mod disks;
mod faults;
mod kills;
mod orderly;
mod peers;
mod relay;
mod scene;
