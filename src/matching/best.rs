//! Each latent's best partners, from one tile of sums or from the cross co-moment of two hookpoints.

use crate::linalg::{Matrix, vectorised};
use crate::matching::correlation::PUBLISHED_EPSILON;
use crate::matching::partners::{BestPartners, Partner};
use crate::matching::{Correlation, Rules, Standardised};
use crate::moments::{CrossCoMoment, CrossTile};
use std::ops::Range;

/// Best partners found in tiles.
#[derive(Clone, Debug)]
pub struct TileMatches {
    /// For each source latent of the tiles its best targets, `[n_rows]`; empty where no correlation is defined.
    pub forward: Vec<BestPartners>,
    /// For each target latent its best sources among the tiles', `[d_target]`.
    pub backward: Vec<BestPartners>,
}

/// Correlates every latent of the tiles with every target latent, keeping the `keep` best both ways.
///
/// `tiles` are of one pair, in order of their rows; `forward` has the rows of all of them, one behind the other. One look at
/// several tiles costs less than as many looks: a target's list that is known from the rows before is rarely beaten.
///
/// A latent without variance has no partner, but by the published rule, where it correlates at 0 with everyone. A row that is
/// not there is one of zeros: its latent never fired, in values of any sign.
pub fn match_tiles<'a>(
    tiles: impl IntoIterator<Item = &'a CrossTile>,
    source: &Standardised,
    target: &Standardised,
    keep: usize,
) -> TileMatches {
    let d_target = target.sum.len();
    let mut scan = Scan::new(d_target, keep);
    let target_scale: Vec<f64> = target.scale.iter().map(|s| s.unwrap_or(f64::NAN)).collect();
    let zeros = vec![0.0; d_target];
    for tile in tiles {
        assert_eq!(tile.d_target(), d_target, "a tile of the pair");
        for i in 0..tile.n_rows() {
            let latent = tile.first_row() + i;
            let Some(scale) = source.scale[latent] else {
                scan.undefined_row();
                continue;
            };
            let sums = tile.row(i).unwrap_or(&zeros);
            let (n, sum) = (source.n_rows, source.sum[latent]);
            scan.row(
                latent as u32,
                #[inline(always)]
                |columns, r| {
                    let (sums, sum_y) = (&sums[columns.clone()], &target.sum[columns.clone()]);
                    for (((r, &xy), &sum_y), &scale_y) in r.iter_mut().zip(sums).zip(sum_y).zip(&target_scale[columns])
                    {
                        *r = crate::matching::pearson(n, sum, scale, sum_y, scale_y, xy);
                    }
                },
            );
        }
    }
    scan.found
}

/// [`match_tiles`] of one tile.
pub fn match_tile(tile: &CrossTile, source: &Standardised, target: &Standardised, keep: usize) -> TileMatches {
    match_tiles([tile], source, target, keep)
}

/// Correlates every dimension of one hookpoint with every dimension of the other, r = c_xy / √(c_xx c_yy), clamped to
/// [−1, 1], keeping the `keep` best both ways. The best is the largest: −1 is the worst, as between latents.
///
/// `c: [d_source, d_target]` is the cross's own, or one of its nulls, whose variances are the same. `source_constant` and
/// `target_constant` tell which dimensions had one value in all rows (rounding may leave them a
/// variance); they and any without variance have no partner, or 0 with everyone by the published rule.
pub fn match_co_moment(
    cross: &CrossCoMoment,
    c: &Matrix<f64>,
    source_constant: impl Fn(usize) -> bool,
    target_constant: impl Fn(usize) -> bool,
    rules: Rules,
    keep: usize,
) -> TileMatches {
    let n = cross.n_rows as f64;
    let scale = |variance: f64, constant: bool| {
        let scale = match rules {
            Rules::Meant => 1.0 / variance.sqrt(),
            Rules::AsPublished => 1.0 / (n.sqrt() * ((variance / (n - 1.0)).sqrt() + PUBLISHED_EPSILON)),
        };
        match (constant || !scale.is_finite() || variance <= 0.0, rules) {
            (false, _) => scale,
            (true, Rules::Meant) => f64::NAN,
            (true, Rules::AsPublished) => 0.0,
        }
    };
    let d_target = c.n_cols();
    let mut scan = Scan::new(d_target, keep);
    let target_scale: Vec<f64> = cross.yy.iter().enumerate().map(|(j, &yy)| scale(yy, target_constant(j))).collect();
    for (i, &xx) in cross.xx.iter().enumerate() {
        let source_scale = scale(xx, source_constant(i));
        if source_scale.is_nan() {
            scan.undefined_row();
            continue;
        }
        scan.row(
            i as u32,
            #[inline(always)]
            |columns, r| {
                for ((r, &xy), &scale_y) in r.iter_mut().zip(&c.row(i)[columns.clone()]).zip(&target_scale[columns]) {
                    *r = (xy * source_scale * scale_y).clamp(-1.0, 1.0);
                }
            },
        );
    }
    scan.found
}

/// Correlations that are computed before they are looked at: they stay in the first cache.
const BLOCK: usize = 256;
/// Correlations that are looked at together: nearly all are below both sides' last ones, which a few compares show.
pub(super) const GLANCE: usize = 16;

/// Whether any of at most [`GLANCE`] correlations comes `past` the bar of its row or of its column; without a branch for
/// each. NaN (a latent without variance) comes past none.
#[inline(always)]
pub(super) fn glance<T: Copy>(r: &[T], row_bar: T, bars: &[T], past: impl Fn(T, T) -> bool) -> bool {
    r.iter().zip(bars).fold(false, |any, (&r, &bar)| any | past(r, row_bar) | past(r, bar))
}

/// Rows of correlations in, sources ascending; best partners both ways out.
struct Scan {
    keep: usize,
    found: TileMatches,
    /// The correlation that a target's list must beat; lists below `keep` accept anything.
    bar: Vec<f64>,
    /// Correlations of the block at hand.
    r: Vec<f64>,
}

impl Scan {
    fn new(d_target: usize, keep: usize) -> Self {
        let found = TileMatches { forward: Vec::new(), backward: vec![BestPartners::default(); d_target] };
        Scan { keep, found, bar: vec![f64::NEG_INFINITY; d_target], r: vec![0.0; BLOCK] }
    }

    /// A source latent without any defined correlation.
    fn undefined_row(&mut self) {
        self.found.forward.push(BestPartners::default());
    }

    /// The next source, `latent`; `correlations` of it with the target latents of a range are written to the given slice; NaN
    /// where undefined.
    fn row(&mut self, latent: u32, correlations: impl Fn(Range<usize>, &mut [f64])) {
        let keep = self.keep;
        let (backward, bar) = (&mut self.found.backward, &mut self.bar);
        let mut forward = BestPartners::default();
        let mut row_bar = f64::NEG_INFINITY;
        for first in (0..bar.len()).step_by(BLOCK) {
            let columns = first..bar.len().min(first + BLOCK);
            let r = &mut self.r[..columns.len()];
            let glances: [bool; BLOCK / GLANCE] = vectorised(
                #[inline(always)]
                || {
                    correlations(columns.clone(), r);
                    let mut glances = [false; BLOCK / GLANCE];
                    let parts = r.chunks(GLANCE).zip(bar[columns.clone()].chunks(GLANCE));
                    for (any, (r, bar)) in glances.iter_mut().zip(parts) {
                        *any = glance(r, row_bar, bar, |r, bar| r > bar);
                    }
                    glances
                },
            );
            for k in (0..glances.len()).filter(|&k| glances[k]) {
                for (j, &value) in (first + k * GLANCE..).zip(&r[k * GLANCE..r.len().min((k + 1) * GLANCE)]) {
                    if value > row_bar {
                        let Some(correlation) = Correlation::new(value) else { continue };
                        forward.offer(Partner { latent: j as u32, correlation }, keep);
                        if forward.as_slice().len() == keep {
                            row_bar = forward.as_slice()[keep - 1].correlation.value();
                        }
                    }
                    // sources come in ascending order, so of equal ones the earlier stays
                    if value > bar[j] {
                        let Some(correlation) = Correlation::new(value) else { continue };
                        backward[j].offer(Partner { latent, correlation }, keep);
                        if backward[j].as_slice().len() == keep {
                            bar[j] = backward[j].as_slice()[keep - 1].correlation.value();
                        }
                    }
                }
            }
        }
        self.found.forward.push(forward);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moments::{Accumulator, Beside, ByLatent, LatentSums};
    use crate::sae::LatentBatch;
    use proptest::prelude::*;

    fn csr(dense: &[Vec<f32>], from: usize, to: usize) -> LatentBatch {
        let mut out = LatentBatch { d_sae: to - from, row_starts: vec![0], ..Default::default() };
        for row in dense {
            for (j, &v) in row[from..to].iter().enumerate().filter(|(_, v)| **v != 0.0) {
                out.latents.push(j as u32);
                out.values.push(v);
            }
            out.row_starts.push(out.latents.len() as u32);
        }
        out
    }

    fn two_pass(rows: &[Vec<f32>], i: usize, j: usize) -> Option<f64> {
        let n = rows.len() as f64;
        let column = |k: usize| rows.iter().map(move |r| f64::from(r[k]));
        let (mx, my) = (column(i).sum::<f64>() / n, column(j).sum::<f64>() / n);
        let (sxx, syy) =
            (column(i).map(|v| (v - mx).powi(2)).sum::<f64>(), column(j).map(|v| (v - my).powi(2)).sum::<f64>());
        let constant = |k: usize| rows.iter().all(|r| r[k] == rows[0][k]);
        let sxy: f64 = column(i).zip(column(j)).map(|(x, y)| (x - mx) * (y - my)).sum();
        (!constant(i) && !constant(j)).then(|| sxy / (sxx * syy).sqrt())
    }

    proptest! {
        /// Against plain two-pass correlations of every pair, for any number of rows per tile; small integers make ties.
        #[test]
        fn best_partners_are_the_plain_argmax(
            rows in prop::collection::vec(prop::collection::vec(0i8..4, 9), 3..14), height in 1usize..6, keep in 1usize..4,
        ) {
            let rows: Vec<Vec<f32>> = rows.iter().map(|r| r.iter().map(|&v| f32::from((v - 1).max(0))).collect()).collect();
            let (a, b) = (csr(&rows, 0, 5), csr(&rows, 5, 9));
            let (mut sums_a, mut sums_b) = (LatentSums::new(5), LatentSums::new(4));
            sums_a.fold(&a).unwrap();
            sums_b.fold(&b).unwrap();
            let (sa, sb) = (Standardised::new(&sums_a), Standardised::new(&sums_b));
            let mut backward = vec![BestPartners::default(); 4];
            for first in (0..5).step_by(height) {
                let n = height.min(5 - first);
                let mut tile = CrossTile::new(first, n, 4);
                tile.fold((&ByLatent::new(&a), Beside::own(&b))).unwrap();
                let got = match_tile(&tile, &sa, &sb, keep);
                for i in 0..n {
                    let partners = got.forward[i].as_slice();
                    let plain: Vec<Option<f64>> = (0..4).map(|j| two_pass(&rows, first + i, 5 + j)).collect();
                    prop_assert_eq!(partners.len(), plain.iter().flatten().count().min(keep));
                    for (rank, p) in partners.iter().enumerate() {
                        let r = plain[p.latent as usize].expect("a partner has a defined correlation");
                        prop_assert!((r - p.correlation.value()).abs() < 1e-12);
                        let better = plain.iter().flatten().filter(|&&v| v > r + 1e-12).count();
                        prop_assert!(better <= rank);
                    }
                }
                for (all, tile) in backward.iter_mut().zip(&got.backward) {
                    all.merge(tile, keep);
                }
            }
            let mut whole = CrossTile::new(0, 5, 4);
            whole.fold((&ByLatent::new(&a), Beside::own(&b))).unwrap();
            prop_assert_eq!(backward, match_tile(&whole, &sa, &sb, keep).backward);
        }
    }

    proptest! {
        /// Co-moments of batches cut anywhere, against plain two-pass correlations; an offset of 1000 costs no digits.
        #[test]
        fn best_dimensions_are_the_plain_argmax(
            rows in prop::collection::vec(prop::collection::vec(-4i8..4, 9), 3..14), cut in 0usize..14, keep in 1usize..4,
        ) {
            let rows: Vec<Vec<f32>> = rows.iter().map(|r| r.iter().map(|&v| f32::from(v) + 1000.0).collect()).collect();
            let part = |rows: &[Vec<f32>], from: usize, to: usize| {
                Matrix::from_vec(rows.len(), to - from, rows.iter().flat_map(|r| r[from..to].to_vec()).collect())
            };
            let of = |rows: &[Vec<f32>]| CrossCoMoment::of_batch(&part(rows, 0, 5), &part(rows, 5, 9), &[]);
            let (before, after) = rows.split_at(cut.min(rows.len()));
            let mut cross = of(before);
            cross.merge(&of(after)).unwrap();
            let constant = |k: usize| rows.iter().all(|r| r[k] == rows[0][k]);
            let got = match_co_moment(&cross, &cross.c, constant, |j| constant(5 + j), Rules::Meant, keep);
            for (picker, partners) in got.forward.iter().enumerate().map(|(i, p)| ((i, true), p))
                .chain(got.backward.iter().enumerate().map(|(j, p)| ((5 + j, false), p)))
            {
                let (k, forward) = picker;
                let plain: Vec<Option<f64>> =
                    (if forward { 5..9 } else { 0..5 }).map(|other| two_pass(&rows, k, other)).collect();
                prop_assert_eq!(partners.as_slice().len(), plain.iter().flatten().count().min(keep));
                for (rank, p) in partners.as_slice().iter().enumerate() {
                    let r = plain[p.latent as usize].expect("a partner has a defined correlation");
                    prop_assert!((r - p.correlation.value()).abs() < 1e-12, "{r} {}", p.correlation.value());
                    prop_assert!(plain.iter().flatten().filter(|&&v| v > r + 1e-12).count() <= rank);
                }
            }
        }
    }

    #[test]
    fn dimensions_that_are_copies_tie_and_the_lower_is_taken_and_a_constant_has_no_partner() {
        let x = Matrix::from_vec(4, 3, vec![1., 1., 7., 2., 2., 7., 4., 4., 7., 9., 9., 7.]);
        let cross = CrossCoMoment::of_batch(&x, &x, &[]);
        let got = match_co_moment(&cross, &cross.c, |i| i == 2, |j| j == 2, Rules::Meant, 2);
        for side in [&got.forward, &got.backward] {
            assert_eq!(side[1].as_slice().iter().map(|p| p.latent).collect::<Vec<_>>(), [0, 1]);
            assert_eq!(side[2], BestPartners::default());
        }
    }

    #[test]
    fn ties_go_to_the_lower_latent() {
        // target columns 2 and 3 are copies of each other; so are source columns 0 and 1
        let rows: Vec<Vec<f32>> =
            [[1., 1., 2., 2.], [0., 0., 0., 0.], [3., 3., 5., 5.]].iter().map(|r| r.to_vec()).collect();
        let (a, b) = (csr(&rows, 0, 2), csr(&rows, 2, 4));
        let (mut sa, mut sb) = (LatentSums::new(2), LatentSums::new(2));
        sa.fold(&a).unwrap();
        sb.fold(&b).unwrap();
        let mut tile = CrossTile::new(0, 2, 2);
        tile.fold((&ByLatent::new(&a), Beside::own(&b))).unwrap();
        let got = match_tile(&tile, &Standardised::new(&sa), &Standardised::new(&sb), 1);
        assert_eq!(got.forward[1].as_slice()[0].latent, 0);
        assert_eq!(got.backward[1].as_slice()[0].latent, 0);
    }
}
