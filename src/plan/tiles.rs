//! In which strips are the sums of a pair owned?

use crate::moments::tile_rows;
use crate::plan::Tile;
use crate::plan::steps::Steps;
use crate::spec::Cross;

/// All tiles of all pairs, in order of pair and row: strips of source rows; all of them in one where Σxy is sketched. A pair of two
/// raw spaces has none: its cross co-moment takes its place.
pub(super) fn tiles(steps: &Steps, cross: Cross) -> Vec<Tile> {
    let mut tiles = Vec::new();
    for (p, pair) in steps.pairs.iter().enumerate().filter(|(_, pair)| !steps.is_raw(**pair)) {
        let (d_source, d_target) = (steps.spaces[pair.source].width, steps.spaces[pair.target].width);
        let height = if cross == Cross::Sketch { d_source } else { tile_rows(d_source, d_target) };
        for (number, first_row) in (0..d_source).step_by(height).enumerate() {
            tiles.push(Tile { pair: p, number, first_row, n_rows: height.min(d_source - first_row) });
        }
    }
    tiles
}
