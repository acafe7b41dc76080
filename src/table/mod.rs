//! How is it handed over? Parquet, and reading it back.
//!
//! One file per table: [`LatentRow`], [`MatchRow`], [`PairRow`], [`SimilarityRow`], [`HistoryRow`]. Rows are sorted by key, compressed
//! with zstd, and describe themselves: every column's meaning is in its field metadata under `description`, the
//! table's under the file's key `description`, where it comes from under `cognate.*`. The same rows give the same bytes.
//!
//! Undefined is null. A NaN or an infinity is never written: it stops the writer with its row and column named, because
//! code that let it come this far has a bug, and a table that holds it would spread it.
//!
//! Text columns are plain strings, dictionary-encoded inside the file. Hookpoints are sorted by place in the network
//! (`resid_post.2` before `resid_post.10`), not by letters.

mod column;
mod compare;
mod counts;
mod history;
mod latents;
mod matches;
mod pairs;
mod reader;
mod row;
mod similarities;
mod writer;

pub use compare::{ColumnDiff, LargestDiff, TableDiff, compare};
pub use counts::PairCounts;
pub use history::HistoryRow;
pub use latents::{LabelColumn, LabelSum, LatentRow, TopTokenCell};
pub use matches::MatchRow;
pub use pairs::PairRow;
pub use reader::TableReader;
pub use row::{Row, SitePair, TABLE_FORMAT};
pub use similarities::{RowPairing, SimilarityRow};
pub use writer::{MAX_ROW_GROUP_ROWS, TableWriter, write_into, write_table};

#[cfg(test)]
mod tests;
