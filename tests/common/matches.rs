//! Rows of a matches table of any length, for tests and benches of tables.

use cognate::error::Result;
use cognate::matching::{Direction, Significance};
use cognate::table::{MatchRow, SitePair, write_table};
use std::path::Path;
use std::sync::Arc;

/// Writes a matches table of `n` rows with values that do not repeat.
///
/// # Errors
/// Those of writing.
pub fn write_matches(path: &Path, n: u32) -> Result<()> {
    let pair = Arc::new(SitePair { source: "a/resid_post.2".parse()?, target: "b/resid_post.3".parse()? });
    let row = |i: u32| MatchRow {
        cosines: Default::default(),
        listed: Default::default(),
        pair: pair.clone(),
        source_latent: Some(i / 5),
        target_latent: Some(i.wrapping_mul(2_654_435_761) >> 17),
        correlation: Some(f64::from(i).sin()),
        significance: Significance::default(),
        exact_tokens: 0,
        sketch_error: Some(f64::from(i).cos()),
        rank: i % 5 + 1,
        direction: Direction::Forward,
        mutual: i.is_multiple_of(7),
        kept: i.is_multiple_of(3),
        dropped_by: (!i.is_multiple_of(3)).then(|| "min_correlation".to_string()),
    };
    write_table(path, (), &Default::default(), (0..n).map(row)).map(drop)
}
