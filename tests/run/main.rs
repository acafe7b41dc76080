//! `cognate run` as a person starts it: the binary, a dataflow file, the tables it leaves.

mod bench_rig;
mod best_over;
mod chance;
#[path = "../common/mod.rs"]
mod common;
mod controls;
mod crosstok;
mod declared;
mod demo;
mod determinism;
mod doctor;
mod e2e;
mod feed;
mod given;
mod groups;
mod kept;
mod kill;
mod latent_cache;
mod limits;
mod merge;
mod names;
mod one_tokenizer;
mod processes;
mod raw;
mod readout;
mod refusals;
mod score;
mod sketch;
mod sources;
mod standard_input;
mod state_files;
mod stitching;
mod stored;
mod tables;
mod units;
mod weights;
