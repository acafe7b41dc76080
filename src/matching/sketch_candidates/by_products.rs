//! Which pairs are the best, of all products?
//!
//! All pairs are one product, computed [`PRODUCT_ROWS`] by [`PRODUCT_COLUMNS`] at a time; only the best are kept. The product's bits do not
//! depend on where it is cut (`linalg/panels.rs`).

use super::lists::Best;
use super::rows::{Known, Sides, standard_rows};
use crate::linalg::panels::{Finish, PackedRows, Panels, multiply};
use crate::matching::best::{GLANCE, glance};
use rayon::prelude::*;

/// Source latents of one product.
pub const PRODUCT_ROWS: usize = 264;
/// Products whose sources are held, centred and laid out, while the targets pass; each source is then laid out once.
const PRODUCTS_HELD: usize = 8;
/// Target latents of one product.
pub const PRODUCT_COLUMNS: usize = 1024;

/// Bytes that a thread needs, its lists included.
pub fn bytes(width: usize, d_target: usize, keep: usize) -> usize {
    let held = PRODUCTS_HELD * PRODUCT_ROWS;
    4 * ((held + PRODUCT_ROWS + 2 * PRODUCT_COLUMNS) * width + PRODUCT_ROWS * PRODUCT_COLUMNS)
        + Best::bytes(held + d_target, keep)
}

/// Source and target of the `keep` best pairs of every latent, both ways; some more than once.
pub fn best_of_all(known: Known<'_>, sides: Sides<'_>, keep: usize) -> Vec<(u32, u32)> {
    let (d_source, d_target) = (sides[0].0.d_sae(), sides[1].0.d_sae());
    // one stretch per thread, since each holds a list of best sources for every target; the result does not depend on their
    // number: partners have a total order, and products have the same bits wherever they are cut
    let height = d_source.div_ceil(rayon::current_num_threads()).next_multiple_of(PRODUCT_ROWS);
    let stretches: Vec<(Vec<(u32, u32)>, Best)> = (0..d_source.div_ceil(height))
        .into_par_iter()
        .map(|s| {
            let rows: Vec<u32> = (s * height..((s + 1) * height).min(d_source)).map(|i| i as u32).collect();
            let mut backward = Best::new(d_target, keep);
            let forward = best_of_rows(known, sides, &rows, keep, Some(&mut backward));
            (forward, backward)
        })
        .collect();
    let mut out: Vec<(u32, u32)> = Vec::new();
    let mut backward = Best::new(d_target, keep);
    for (forward, of_stretch) in stretches {
        out.extend(forward);
        backward.merge(&of_stretch);
    }
    out.extend((0..d_target).flat_map(|j| backward.list(j).map(move |(_, i)| (i, j as u32))));
    out
}

/// The best pairs of the latents `rows` of the first side, in their order; the best of every latent of the other side go into `backward`.
pub fn best_of_rows(
    known: Known<'_>,
    [a, b]: Sides<'_>,
    rows: &[u32],
    keep: usize,
    mut backward: Option<&mut Best>,
) -> Vec<(u32, u32)> {
    let (width, d_target) = (a.0.width(), b.0.d_sae());
    let mut za = vec![0f32; PRODUCT_ROWS * width];
    let mut zb = vec![0f32; PRODUCT_COLUMNS * width];
    let mut r = vec![0f32; PRODUCT_ROWS * PRODUCT_COLUMNS];
    // where nobody asks for the other side's lists, no correlation is above their floors
    let none = [f32::INFINITY; GLANCE];
    let mut held = [(); PRODUCTS_HELD].map(|()| PackedRows::default());
    let mut out = Vec::new();
    for rows in rows.chunks(PRODUCTS_HELD * PRODUCT_ROWS) {
        let products: Vec<&[u32]> = rows.chunks(PRODUCT_ROWS).collect();
        for (rows, z) in products.iter().zip(&mut held) {
            standard_rows(a, rows.iter().map(|&i| i as usize), &mut za);
            z.pack(&za[..rows.len() * width], rows.len(), width);
        }
        let mut forward: Vec<Best> = products.iter().map(|rows| Best::new(rows.len(), keep)).collect();
        for first in (0..d_target).step_by(PRODUCT_COLUMNS) {
            let columns = first..d_target.min(first + PRODUCT_COLUMNS);
            let n = columns.len();
            standard_rows(b, columns.clone(), &mut zb);
            let panels = Panels::from_transposed(&zb[..n * width], n, width);
            for ((rows, z), forward) in products.iter().zip(&held).zip(&mut forward) {
                let r = &mut r[..rows.len() * n];
                multiply(z, &panels, 0..panels.n_panels(), r, Finish::default());
                for ((k, &i), r) in rows.iter().enumerate().zip(r.chunks_exact_mut(n)) {
                    known.set_counted(i, columns.clone(), r);
                    for (start, r) in (first..).step_by(GLANCE).zip(r.chunks(GLANCE)) {
                        let floors = backward.as_ref().map_or(&none[..r.len()], |b| &b.floor[start..start + r.len()]);
                        // equal values too: the lower partner is kept, in whatever order they come
                        if !glance(r, forward.floor[k], floors, |r, floor| r >= floor) {
                            continue;
                        }
                        for (j, &r) in (start..).zip(r) {
                            forward.offer(k, r, j as u32);
                            if let Some(backward) = backward.as_deref_mut() {
                                backward.offer(j, r, i);
                            }
                        }
                    }
                }
            }
        }
        for (rows, forward) in products.into_iter().zip(forward) {
            for (k, &i) in rows.iter().enumerate() {
                out.extend(forward.list(k).map(|(_, j)| (i, j)));
            }
        }
    }
    out
}
