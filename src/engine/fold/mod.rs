//! The sums that one worker holds: folded (`held`), looked at (`snapshot`), saved and added up (`checkpoint`). No dataflow here.

mod beyond;
pub mod checkpoint;
mod file;
mod held;
mod snapshot;

pub use held::Fold;
