//! The tables of a run: written as Parquet, and read back.
//!
//! One file per table: [`LatentRow`], [`MatchRow`], [`PairRow`], [`SimilarityRow`], [`HistoryRow`], [`BestOverRow`], [`BestOverCounts`],
//! [`BestOverScore`], and of three places or more [`GroupRow`], [`GroupSizeRow`], [`CycleRow`], where rows are pieces of text [`AlignmentRow`]; and [`ControlRow`], over several runs. Rows are sorted by key, compressed
//! with zstd, and describe themselves: every column's meaning is in its field metadata under `description`, the
//! table's under the file's key `description`, where it comes from under `cognate.*`. The same rows give the same bytes.
//!
//! Undefined is null. A NaN or an infinity is never written: the writer stops with an error that names row and column, because
//! such a value comes from a bug and must not reach a table.
//!
//! Text columns are plain strings, dictionary-encoded inside the file. Hookpoints are sorted by place in the network
//! (`resid_post.2` before `resid_post.10`), not by letters.

mod alignment;
mod best_over;
mod best_over_scores;
mod column;
mod compare;
mod controls;
mod counts;
mod group_sizes;
mod groups;
mod history;
mod latents;
mod listed;
mod maps;
mod matches;
mod pairs;
mod reader;
mod readout;
mod row;
mod similarities;
mod weights;
mod writer;

pub use alignment::AlignmentRow;
pub use best_over::{BestOverCounts, BestOverRow};
pub use best_over_scores::{BestOverScore, OverScore};
pub use compare::{ColumnDiff, LargestDiff, TableDiff, compare};
pub use controls::{ControlRow, REAL, ScoreCell};
pub use counts::PairCounts;
pub use group_sizes::{CycleRow, GroupSizeRow};
pub use groups::{GroupRow, Missing};
pub use history::HistoryRow;
pub use latents::{LabelColumn, LabelSum, LatentRow, TopTokenCell};
pub use listed::ListedCells;
pub use maps::{MapNumbers, MapRow};
pub use matches::MatchRow;
pub use pairs::PairRow;
pub use reader::TableReader;
pub use readout::{READABLE, ReadoutNumbers, ReadoutRow, Verdict};
pub use row::{SitePair, TABLE_FORMAT, TableRow};
pub use similarities::{RowPairing, SimilarityRow};
pub use weights::{CosineScores, DictionaryScores, LogitScores, RowCosines};
pub use writer::{MAX_ROW_GROUP_ROWS, TableWriter, write_into, write_table};

#[cfg(test)]
mod tests;
