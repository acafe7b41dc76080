//! From views, notes and saved sums to tables: what is known of matches at a snapshot, judged, scored, written and committed.
//! No dataflow here: a run, a merge and `score` call the same functions.
//!
//! `judged` is what the others read; `rows`, `pairs`, `groups`, `scores` and `best_over` make rows of tables from it,
//! `tables` writes them as one set, `weights` compares SAEs of one model, `readout` reads latents out of the other
//! side's activations, `maps` takes them into each other, `logits` reads what decoder rows do to the logits
//! (`agreement` of both), `history` adds a row per snapshot and pair, and `publish` commits checkpoints. `work` reports
//! how far the making of tables is, and stops it.

mod agreement;
mod best_over;
mod due;
mod groups;
mod history;
mod judged;
mod latent_facts;
mod listing;
mod logits;
mod maps;
mod match_graph;
mod pairs;
mod publish;
mod readout;
mod rows;
mod saved_tiles;
pub mod scan;
mod scores;
mod strong;
mod tables;
mod weights;
mod work;

pub use due::Due;
pub use history::{History, measures as history_measures};
pub use judged::Results;
pub use maps::fitted;
pub use publish::Publisher;
pub use readout::ReadSpace;
pub use saved_tiles::SavedTiles;
pub use scan::scanned_views;
pub use tables::{make_tables, origin};
