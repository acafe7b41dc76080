//! The dataflow of a run: its workers, its graph, and the operators in it.
//!
//! `graph` puts one worker's operators together; `workers` starts them, once the processes have met (`rendezvous`,
//! `greeting`); `line` checks that they are alive, and reports why one ended. Each operator is one file: `source` lets
//! batches in as `schedule` has decided, `encode` (on `lanes`), `fold` and `publish` wrap functions of `engine` that know of no
//! dataflow, `views` maintains the matches.

mod clock;
mod cluster;
mod encode;
mod fold;
mod graph;
mod greeting;
mod lanes;
mod line;
mod publish;
mod rendezvous;
mod schedule;
mod source;
mod views;
mod workers;

pub use cluster::{Cluster, Secret};
pub use rendezvous::Meeting;
pub use workers::{abort_on_panic, execute};
