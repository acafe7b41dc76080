//! Which pairs are the best, where there are too many for all products?
//!
//! The estimates of `linalg/signs.rs` look at every pair for a tenth of what its product costs. Those that are high enough are multiplied
//! as bytes (`linalg/bytes/vectors.rs`), which is right to some 0.0005, a hundredth of what a sketch is off by. Two latents with no relation have a product of 1/√width about 0, and each latent's list is
//! filled by the largest of these at least: so a list that ends below the height that some [`MORE`] × keep of so many would exceed by chance
//! has missed pairs, and that latent is multiplied with all others.
//!
//! What is missed of the others: a pair at the very end of a list where the estimate is [`MARGIN`] of its standard errors too low, 7 % of
//! them; one that is higher by as much again, 1 in 700. Whether a pair is multiplied depends on its own estimate alone, not on what was found
//! before it. So the result is the same for any number of threads.

use super::by_products::best_of_rows;
use super::lists::Best;
use super::rows::{Known, Side, Sides, standard_rows};
use crate::linalg::bytes::vectors::{ByteVectors, Multiply};
use crate::linalg::signs::{BLOCK, ByteWork, Lookup, Rotation, SPREAD, Signs, TOGETHER, Tables, by_bytes};
use rayon::prelude::*;

/// From so many pairs on: of fewer, all products take no longer.
const LEAST_PAIRS: u64 = 1 << 28;
/// Latents by chance above the end of a complete list, over those in the list.
const MORE: usize = 4;
/// Standard errors by which an estimate may be too low.
const MARGIN: f32 = 1.5;
/// Source latents that are held, laid out, while the targets pass.
const HELD: usize = 2048;
/// Blocks of targets that stay in the second-level cache while the sources held pass.
const BLOCKS: usize = 16;
/// Short lists that are completed by one task.
const ROWS_AT_ONCE: usize = 1056;

/// z of which a share of 2⁻ᵏ of a normal distribution is above, by k.
const QUANTILES: [f32; 25] = [
    0.0, 0.0, 0.6745, 1.1503, 1.5341, 1.8627, 2.1539, 2.4176, 2.6601, 2.8856, 3.0973, 3.2972, 3.4871, 3.6683, 3.8419,
    4.0088, 4.1696, 4.3249, 4.4753, 4.6212, 4.763, 4.901, 5.0354, 5.1666, 5.2947,
];

/// A search over the pairs of two sides.
pub struct Search<'a> {
    sides: Sides<'a>,
    keep: usize,
    rotation: Rotation,
    /// Latents of each side that have a variance.
    alive: [Vec<u32>; 2],
    /// Estimates above this are multiplied.
    estimate: f32,
    /// Lists that end below this are not complete.
    floor: f32,
}

impl<'a> Search<'a> {
    /// `None` where all products are no more work.
    pub fn of(sides: Sides<'a>, keep: usize) -> Option<Self> {
        let pairs = sides.iter().map(|(sketch, _)| sketch.d_sae() as u64).product::<u64>();
        if pairs < LEAST_PAIRS { None } else { Search::of_any(sides, keep) }
    }

    /// The same for any number of pairs; `None` where an estimate would tell nothing.
    pub fn of_any(sides: Sides<'a>, keep: usize) -> Option<Self> {
        let width = sides[0].0.width();
        let rotation = Rotation::new(width)?;
        let alive =
            sides.map(|(_, of)| (0..of.scale.len() as u32).filter(|&i| of.scale[i as usize].is_some()).collect());
        let n = alive.iter().map(Vec::len).min().unwrap_or(0);
        let share = (n / (MORE * keep.max(1))).checked_ilog2()? as usize;
        let z = QUANTILES[share.min(QUANTILES.len() - 1)];
        let floor = z / (width as f32).sqrt();
        let estimate = floor - MARGIN * SPREAD / (rotation.dims() as f32).sqrt();
        (estimate > 0.0).then_some(Search { sides, keep, rotation, alive, estimate, floor })
    }
}

/// Bytes that a thread needs, its lists included.
pub fn bytes(width: usize, d_target: usize, keep: usize) -> usize {
    let of_source = ByteVectors::memory_bytes(1, width) + Tables::memory_bytes(dims(width)) / TOGETHER;
    HELD * of_source + Best::bytes(HELD + d_target, keep)
}

/// Bytes that all threads share.
pub fn shared_bytes(width: usize, [d_source, d_target]: [usize; 2]) -> usize {
    let of_targets = Signs::memory_bytes(d_target, dims(width)) + ByteVectors::memory_bytes(d_target, width);
    of_targets + 4 * (d_source + d_target)
}

fn dims(width: usize) -> usize {
    Rotation::new(width).map_or(0, |rotation| rotation.dims())
}

/// Source and target of the `keep` best pairs of every latent, both ways; some more than once.
pub fn best_of_some(search: &Search<'_>, known: Known<'_>) -> Vec<(u32, u32)> {
    let Search { sides, keep, alive: [sources, targets], .. } = search;
    let (keep, d_target) = (*keep, sides[1].0.d_sae());
    let signs = signs_of(search, sides[1], targets);
    let mut bytes = ByteVectors::new(targets.len(), sides[1].0.width());
    bytes.fill(|k, z| finite_row(sides[1], targets[k], z));
    // one stretch per thread, since each holds a list of best sources for every target
    let height = sources.len().div_ceil(rayon::current_num_threads()).next_multiple_of(TOGETHER).max(TOGETHER);
    let stretches: Vec<(Vec<(u32, u32)>, Vec<u32>, Best)> = (sources.par_chunks(height))
        .map(|rows| {
            let mut stretch = Stretch::new(search, known, &signs, &bytes);
            rows.chunks(HELD).for_each(|held| stretch.pass(held));
            (stretch.found, stretch.short, stretch.backward)
        })
        .collect();
    let (mut out, mut short) = (Vec::new(), Vec::new());
    let mut backward = Best::new(d_target, keep);
    for (found, short_of_stretch, backward_of_stretch) in stretches {
        out.extend(found);
        short.extend(short_of_stretch);
        backward.merge(&backward_of_stretch);
    }
    let is_short = |j: u32| backward.floor[j as usize] < search.floor;
    let short_targets: Vec<u32> = targets.iter().copied().filter(|&j| is_short(j)).collect();
    out.extend((0..d_target).flat_map(|j| backward.list(j).map(move |(_, i)| (i, j as u32))));
    drop(backward);

    let rest = short.par_chunks(ROWS_AT_ONCE).map(|rows| best_of_rows(known, *sides, rows, keep, None));
    out.extend(rest.flatten_iter().collect::<Vec<_>>());
    let entries = known.entries_of(&short_targets);
    let (known, turned) = (known.of_targets(&entries), [sides[1], sides[0]]);
    let rest = short_targets.par_chunks(ROWS_AT_ONCE).map(|rows| best_of_rows(known, turned, rows, keep, None));
    out.extend(rest.flatten_iter().map(|(j, i)| (i, j)).collect::<Vec<_>>());
    out
}

/// Signs of these latents.
fn signs_of(search: &Search<'_>, side: Side<'_>, latents: &[u32]) -> Signs {
    let (width, dims) = (side.0.width(), search.rotation.dims());
    let mut signs = Signs::new(latents.len(), dims);
    let room = || (vec![0f32; width], vec![0f32; dims]);
    (signs.blocks_mut().into_par_iter().zip(latents.par_chunks(BLOCK))).for_each_init(
        room,
        |(z, turned), (mut block, latents)| {
            for (k, &latent) in latents.iter().enumerate() {
                standard_rows(side, [latent as usize].into_iter(), z);
                search.rotation.turn(z, turned);
                block.set(k, turned);
            }
        },
    );
    signs
}

/// The centred sketch of a latent; zeros where it has no variance in it.
fn finite_row(side: Side<'_>, latent: u32, z: &mut [f32]) {
    standard_rows(side, [latent as usize].into_iter(), z);
    if z.iter().any(|v| !v.is_finite()) {
        z.fill(0.0);
    }
}

/// What a thread works in, and what it found.
struct Stretch<'a> {
    search: &'a Search<'a>,
    known: Known<'a>,
    signs: &'a Signs,
    targets: &'a ByteVectors,
    sources: ByteVectors,
    tables: Vec<Tables>,
    /// Of the sources held, and of all targets.
    forward: Best,
    backward: Best,
    /// Pairs of the sources' lists.
    found: Vec<(u32, u32)>,
    /// Sources whose lists are not complete.
    short: Vec<u32>,
}

impl<'a> Stretch<'a> {
    fn new(search: &'a Search<'a>, known: Known<'a>, signs: &'a Signs, targets: &'a ByteVectors) -> Self {
        let [(a, _), (b, _)] = search.sides;
        Stretch {
            search,
            known,
            signs,
            targets,
            sources: ByteVectors::new(HELD, a.width()),
            tables: vec![Tables::new(search.rotation.dims()); HELD / TOGETHER],
            forward: Best::new(0, search.keep),
            backward: Best::new(b.d_sae(), search.keep),
            found: Vec::new(),
            short: Vec::new(),
        }
    }

    /// At most [`HELD`] sources against all targets.
    fn pass(&mut self, held: &[u32]) {
        let a = self.search.sides[0];
        let (mut z, mut turned) = (vec![0f32; a.0.width()], vec![0f32; self.search.rotation.dims()]);
        for (k, &i) in held.iter().enumerate() {
            finite_row(a, i, &mut z);
            self.sources.set(k, &z);
            self.search.rotation.turn(&z, &mut turned);
            self.tables[k / TOGETHER].set(k % TOGETHER, &turned);
        }
        // the last table may hold sources of an earlier pass
        turned.fill(f32::NAN);
        for k in held.len()..held.len().next_multiple_of(TOGETHER) {
            self.tables[k / TOGETHER].set(k % TOGETHER, &turned);
        }
        self.forward = Best::new(held.len(), self.search.keep);
        let tile = BLOCKS * BLOCK;
        for (first, targets) in (0..).step_by(tile).zip(self.search.alive[1].chunks(tile)) {
            by_bytes(Tile { stretch: self, held, first, targets });
        }
        for (k, &i) in held.iter().enumerate() {
            self.known.each(i, |j, r| {
                self.forward.offer(k, r, j);
                self.backward.offer(j as usize, r, i);
            });
            self.found.extend(self.forward.list(k).map(|(_, j)| (i, j)));
            if self.forward.floor[k] < self.search.floor {
                self.short.push(i);
            }
        }
    }
}

/// A piece of a pass: all sources of the pass, and some of the targets, from number `first` on.
struct Tile<'s, 'a> {
    stretch: &'s mut Stretch<'a>,
    held: &'s [u32],
    first: usize,
    targets: &'s [u32],
}

impl ByteWork for Tile<'_, '_> {
    #[inline(always)]
    fn run(self, lookup: impl Lookup, multiply: impl Multiply) {
        let Tile { held, first, .. } = self;
        let Stretch { search, known, signs, targets: bytes, sources, tables, forward, backward, .. } = self.stretch;
        for (from, sources_of_table) in (0..).step_by(TOGETHER).zip(held.chunks(TOGETHER)) {
            for (b, targets) in self.targets.chunks(BLOCK).enumerate() {
                let at = first + b * BLOCK;
                tables[from / TOGETHER].above(
                    signs.block(at / BLOCK),
                    search.estimate,
                    lookup,
                    // without the attribute a closure keeps the portable instructions, and calls those of its products one by one
                    #[inline(always)]
                    |r, k| {
                        let product = sources.product(from + r, bytes, at + k, multiply);
                        let (source, target) = (sources_of_table[r], targets[k]);
                        let enters = product >= forward.floor[from + r] || product >= backward.floor[target as usize];
                        // what is counted is offered elsewhere
                        if enters && !known.has(source, target) {
                            forward.offer(from + r, product, target);
                            backward.offer(target as usize, product, source);
                        }
                    },
                );
            }
        }
    }
}
