//! `cognate run` as a person starts it: the binary, a dataflow file, the tables it leaves.

mod bench_rig;
mod chance;
#[path = "../common/mod.rs"]
mod common;
mod controls;
mod declared;
mod demo;
mod determinism;
mod doctor;
mod e2e;
mod kept;
mod kill;
mod limits;
mod merge;
mod names;
mod processes;
mod raw;
mod refusals;
mod score;
mod sketch;
mod sources;
mod state_files;
mod tables;
