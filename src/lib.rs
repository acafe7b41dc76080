//! Cognate streams token batches through language models and their sparse autoencoders (SAEs), keeps running sums, and
//! reports, while it runs, which latents of different models correspond, how similar the feature spaces are, and how
//! much both answers still change.
//!
//! The rooms are listed in the order in which data flows; each imports only from rooms before it (ARCHITECTURE.md, and
//! `tests/layers.rs`, which checks it).

// Only of what is shipped: tests and benches may look at the clock.
#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::iter_over_hash_type))]

pub mod disk;
pub mod error;
pub mod halt;
pub mod ids;
pub mod units;

pub mod device;
pub mod hub;
pub mod linalg;
pub mod store;
pub mod threads;
pub mod weights;

pub mod corpus;
pub mod matching;
pub mod model;
pub mod moments;
pub mod report;
pub mod sae;
pub mod similarity;
pub mod table;

pub mod cli;
pub mod doctor;
pub mod engine;
pub mod plan;
pub mod spec;
