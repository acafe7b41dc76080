//! From views, notes and saved sums to tables: what is known of matches at a snapshot, judged, scored, written and committed.
//! No dataflow here: a run, a merge and `score` call the same functions.
//!
//! `judged` is what the others read; `rows`, `pairs` and `scores` make rows of tables from it, `tables` writes them as one
//! set, `history` adds a row per snapshot and pair, and `publish` commits checkpoints.

mod due;
mod history;
mod judged;
mod latent_facts;
mod pairs;
mod publish;
mod rows;
mod saved_tiles;
pub mod scan;
mod scores;
mod tables;

pub use due::Due;
pub use judged::Results;
pub use publish::Publisher;
pub use saved_tiles::SavedTiles;
pub use scan::scanned_views;
pub use tables::{make_tables, origin};
