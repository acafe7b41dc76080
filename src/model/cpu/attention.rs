//! What do the heads gather? Causal attention over one context, with grouped queries, sliding windows and soft caps.
//!
//! The kernel works on blocks of 16 queries (side by side in vectors) and 16 keys. Blocks above the diagonal or outside the
//! window are skipped. Only the scores of one block of queries exist at a time, in the core's cache.

use super::linear::Linear;
use super::math::{exp, tanh};
use super::strides::Strides;
use super::{norm, rotary};
use crate::linalg::panels::{Line, WIDTH, square};
use crate::model::architecture::{Projections, Scores};
use crate::model::backend::{Attention, NormValues, Part};
use crate::model::pool::{Rows, buffer};
use crate::model::rotary::Rotary;
use pulp::{Simd, WithSimd};
use std::cell::RefCell;

/// Queries, keys and values, where the projections left them.
pub struct Projected {
    memory: Vec<Rows>,
    query: Heads,
    key: Heads,
    value: Heads,
}

/// Heads of all tokens inside rows.
#[derive(Clone, Copy)]
struct Heads {
    /// Which of the memories.
    memory: usize,
    at: Strides,
    n_heads: usize,
    d: usize,
}

/// Queries, keys and values of `x`, biases included, before head norms and rotation.
pub fn project(attention: &Attention<Linear, NormValues, Rotary>, x: &Rows) -> Projected {
    let &Attention { n_heads: h, n_kv_heads: kv, d_head: d, .. } = attention;
    let memory: Vec<Rows> = match &attention.projections {
        Projections::PerHead(all) | Projections::Stacked(all) => vec![all.forward(x, None)],
        Projections::Separate { query, key, value } => {
            [query, key, value].into_iter().map(|to| to.forward(x, None)).collect()
        }
    };
    let heads = |memory: usize, first: usize, n_heads: usize, by_token: usize, by_head: usize| Heads {
        memory,
        at: Strides { first, by_token, by_head },
        n_heads,
        d,
    };
    let [query, key, value] = match &attention.projections {
        Projections::PerHead(_) => [0, d, 2 * d].map(|first| heads(0, first, h, 3 * h * d, 3 * d)),
        Projections::Stacked(_) => {
            [(0, h), (h, kv), (h + kv, kv)].map(|(before, n)| heads(0, before * d, n, (h + 2 * kv) * d, d))
        }
        Projections::Separate { .. } => [(0, h), (1, kv), (2, kv)].map(|(memory, n)| heads(memory, 0, n, n * d, d)),
    };
    Projected { memory, query, key, value }
}

impl Projected {
    fn part(&self, part: Part) -> Heads {
        match part {
            Part::Query => self.query,
            Part::Key => self.key,
            Part::Value => self.value,
        }
    }

    /// Heads side by side, `[n_tokens, n_heads * d_head]`, in memory of their own.
    pub fn side_by_side(&self, part: Part) -> Rows {
        let heads = self.part(part);
        let x = &self.memory[heads.memory];
        let width = heads.n_heads * heads.d;
        let mut out = buffer(x.n_rows() * width);
        for (token, row) in out.chunks_exact_mut(width).enumerate() {
            for (head, out) in row.chunks_exact_mut(heads.d).enumerate() {
                out.copy_from_slice(&x.values()[heads.at.of(token, head)..][..heads.d]);
            }
        }
        Rows::new(out, width)
    }

    /// Heads through a norm, in memory of their own.
    fn normed(&mut self, part: Part, norm: &NormValues) -> Heads {
        let Heads { n_heads, d, .. } = self.part(part);
        self.memory.push(norm::forward(norm, &self.side_by_side(part)));
        let at = Strides { first: 0, by_token: n_heads * d, by_head: d };
        Heads { memory: self.memory.len() - 1, at, n_heads, d }
    }

    fn view(&self, part: Part) -> View<'_> {
        let Heads { memory, at, d, .. } = self.part(part);
        View { values: self.memory[memory].values(), at, d }
    }
}

/// Queries, keys and values to the concatenated heads `[n_tokens, n_heads * d_head]`.
pub fn heads(attention: &Attention<Linear, NormValues, Rotary>, mut projected: Projected) -> Rows {
    if let Some((query, key)) = &attention.qk_norms {
        projected.query = projected.normed(Part::Query, query);
        projected.key = projected.normed(Part::Key, key);
    }
    if let Some(rotary) = &attention.rotary {
        for Heads { memory, at, n_heads, d } in [projected.query, projected.key] {
            rotary::turn(rotary, &mut projected.memory[memory], at, n_heads, d);
        }
    }
    let (q, k, v) = (projected.view(Part::Query), projected.view(Part::Key), projected.view(Part::Value));
    let &Attention { n_heads, n_kv_heads: n_kv, d_head, .. } = attention;
    let n = projected.memory[0].n_rows();
    let mut out = buffer(n * n_heads * d_head);
    gather(&attention.scores, [q, k, v], n, [n_heads, n_kv], &mut out);
    Rows::new(out, n_heads * d_head)
}

/// Attention of `n` tokens over views of queries, keys and values, to `out: [n, n_heads * d]`.
pub(super) fn gather(scores: &Scores, [q, k, v]: [View; 3], n: usize, [n_heads, n_kv]: [usize; 2], out: &mut [f32]) {
    Buffers::lend(|buffers| crate::linalg::dispatch(Gather { scores, q, k, v, n, n_heads, n_kv, out, buffers }));
}

impl Scores {
    /// First key that position `i` sees.
    fn first_key(&self, i: usize) -> usize {
        self.window.map_or(0, |w| (i + 1).saturating_sub(w))
    }
}

/// Queries, keys or values, `[n_tokens, n_heads, d_head]`.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) values: &'a [f32],
    pub(super) at: Strides,
    pub(super) d: usize,
}

impl<'a> View<'a> {
    #[inline(always)]
    fn row(&self, token: usize, head: usize) -> &'a [f32] {
        &self.values[self.at.of(token, head)..][..self.d]
    }

    /// 16 tokens from `first` on side by side, `[d]` lines; those behind the last one are 0.
    #[inline(always)]
    fn turn(&self, first: usize, n: usize, head: usize, lines: &mut [Line]) {
        if first + WIDTH <= n {
            let rows: [&[f32]; WIDTH] = std::array::from_fn(
                #[inline(always)]
                |i| self.row(first + i, head),
            );
            for (l, line) in lines.iter_mut().enumerate() {
                line.0 = std::array::from_fn(
                    #[inline(always)]
                    |i| rows[i][l],
                );
            }
            return;
        }
        lines.fill(ZEROS);
        for i in 0..n - first {
            lines.iter_mut().zip(self.row(first + i, head)).for_each(|(line, v)| line.0[i] = *v);
        }
    }
}

const ZEROS: Line = Line([0.0; WIDTH]);

/// What a thread lays out for every head; its memory is reused.
#[derive(Default)]
struct Buffers {
    /// 16 queries side by side, `[d]`.
    queries: Vec<Line>,
    /// 16 keys side by side, `[n_blocks, d]`.
    keys: Vec<Line>,
    /// 16 features of a value, `[d / 16, n_tokens]`.
    values: Vec<Line>,
    /// 16 queries side by side, `[n_keys]`: scores, then weights.
    scores: Vec<Line>,
}

impl Buffers {
    fn lend<R>(work: impl FnOnce(&mut Buffers) -> R) -> R {
        thread_local! {
            static BUFFERS: RefCell<Buffers> = RefCell::default();
        }
        BUFFERS.with_borrow_mut(work)
    }
}

struct Gather<'a> {
    scores: &'a Scores,
    q: View<'a>,
    k: View<'a>,
    v: View<'a>,
    n: usize,
    n_heads: usize,
    n_kv: usize,
    out: &'a mut [f32],
    buffers: &'a mut Buffers,
}

impl WithSimd for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Gather { scores, q, k, v, n, n_heads, n_kv, out, buffers } = self;
        let (d, width, group) = (q.d, n_heads * q.d, n_heads / n_kv);
        let (n_blocks, n_parts) = (n.div_ceil(WIDTH), d.div_ceil(WIDTH));
        buffers.queries.resize(d, ZEROS);
        buffers.keys.resize(n_blocks * d, ZEROS);
        buffers.values.resize(n_parts * n_blocks * WIDTH, ZEROS);
        buffers.scores.resize(n_blocks * WIDTH, ZEROS);
        let n_padded = n_blocks * WIDTH;
        let mut square_out = [ZEROS; WIDTH];
        for h in 0..n_heads {
            if h % group == 0 {
                for (b, lines) in buffers.keys.chunks_exact_mut(d).enumerate() {
                    k.turn(b * WIDTH, n, h / group, lines);
                }
                buffers.values.fill(ZEROS);
                for t in 0..n {
                    for (part, values) in v.row(t, h / group).chunks(WIDTH).enumerate() {
                        buffers.values[part * n_padded + t].0[..values.len()].copy_from_slice(values);
                    }
                }
            }
            for b in 0..n_blocks {
                let first = b * WIDTH;
                q.turn(first, n, h, &mut buffers.queries);
                let low = scores.first_key(first) / WIDTH;
                for kb in low..=b {
                    square(simd, &buffers.keys[kb * d..][..d], &buffers.queries, &mut square_out);
                    scores.judge(&mut square_out, kb * WIDTH, first);
                    buffers.scores[kb * WIDTH..][..WIDTH].copy_from_slice(&square_out);
                }
                let weights = &mut buffers.scores[low * WIDTH..first + WIDTH];
                let total = softmax(weights);
                for part in 0..n_parts {
                    let values = &buffers.values[part * n_padded..][low * WIDTH..first + WIDTH];
                    square(simd, weights, values, &mut square_out);
                    for i in 0..WIDTH.min(n - first) {
                        let at = (first + i) * width + h * d + part * WIDTH;
                        let out = &mut out[at..][..WIDTH.min(d - part * WIDTH)];
                        out.iter_mut().zip(square_out[i].0).for_each(|(out, v)| *out = v / total[i]);
                    }
                }
            }
        }
    }
}

impl Scores {
    /// Products of 16 keys from `key` on and 16 queries from `query` on: scaled, the soft cap, and -inf where the query
    /// does not see the key.
    #[inline(always)]
    fn judge(&self, block: &mut [Line; WIDTH], key: usize, query: usize) {
        for line in block.iter_mut() {
            line.0.iter_mut().for_each(
                #[inline(always)]
                |v| *v *= self.scale,
            );
        }
        if let Some(cap) = self.soft_cap {
            for line in block.iter_mut() {
                for v in &mut line.0 {
                    *v = cap * tanh(*v / cap);
                }
            }
        }
        // Every query sees the whole block of keys.
        if key + WIDTH <= query + 1 && self.first_key(query + WIDTH - 1) <= key {
            return;
        }
        for (j, line) in (key..).zip(block.iter_mut()) {
            for (i, v) in (query..).zip(&mut line.0) {
                if j > i || j < self.first_key(i) {
                    *v = f32::NEG_INFINITY;
                }
            }
        }
    }
}

/// Softmax of 16 queries side by side, `[n_keys]` lines, without the last division: `exp(score - max)` in place, and the
/// sums over the keys, in their order. What is not seen adds 0, so the bits do not depend on where blocks begin.
#[inline(always)]
fn softmax(scores: &mut [Line]) -> [f32; WIDTH] {
    let mut max = [f32::NEG_INFINITY; WIDTH];
    for line in scores.iter() {
        for (max, &score) in max.iter_mut().zip(&line.0) {
            *max = if score > *max { score } else { *max };
        }
    }
    let mut total = [0.0; WIDTH];
    for line in scores {
        for i in 0..WIDTH {
            line.0[i] = exp(line.0[i] - max[i]);
            total[i] += line.0[i];
        }
    }
    total
}
