//! Which one-to-one pairing has the largest sum when each row names a few candidates? Whole dictionaries at once.
//!
//! Shortest augmenting paths over sparse rows (Jonker and Volgenant 1987, their LAPJVsp) with a heap, after a greedy
//! start. Every row may also stay alone at score 0, so there always is a solution, searches end early, and the result is
//! the maximum-weight matching: no pair is forced.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::integer_costs;
use crate::error::{Error, Result};

const NONE: u32 = u32::MAX;

/// A few scored columns for each row (CSR): `n_rows` rows over `n_cols` columns.
#[derive(Clone, Debug)]
pub struct ScoredColumns {
    starts: Vec<usize>,
    columns: Vec<u32>,
    scores: Vec<f64>,
    n_cols: usize,
}

impl ScoredColumns {
    /// From the candidates `(column, score)` of each row, in any order. A score of 0 or less is never worth a pair and is
    /// left out.
    ///
    /// # Errors
    /// `Request` for a column outside `n_cols` or one named twice by a row, `Input` for a score that is not finite.
    pub fn from_rows<R>(n_cols: usize, rows: impl IntoIterator<Item = R>) -> Result<Self>
    where
        R: IntoIterator<Item = (u32, f64)>,
    {
        let mut out = ScoredColumns { starts: vec![0], columns: Vec::new(), scores: Vec::new(), n_cols };
        let mut line: Vec<(u32, f64)> = Vec::new();
        for (i, row) in rows.into_iter().enumerate() {
            line.clear();
            line.extend(row);
            line.sort_by_key(|&(column, _)| column);
            if let Some(twice) = line.windows(2).find(|w| w[0].0 == w[1].0) {
                return Err(Error::request(format!("candidates: row {i} names column {} twice", twice[0].0)));
            }
            for &(column, score) in &line {
                if column as usize >= n_cols {
                    return Err(Error::request(format!("candidates: row {i} names column {column} of {n_cols}")));
                }
                if !score.is_finite() {
                    return Err(Error::input(format!("candidates: row {i}, column {column} has score {score}")));
                }
                if score > 0.0 {
                    out.columns.push(column);
                    out.scores.push(score);
                }
            }
            out.starts.push(out.columns.len());
        }
        Ok(out)
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.starts.len() - 1
    }
}

/// The pairs `(row, column)` of the one-to-one pairing with the largest sum over the candidates, by row; rows and columns
/// for which it is no gain stay alone. Of equally short paths the one that ends in a free column, then in the lowest
/// column, is taken.
///
/// # Errors
/// `Input` when the scores cannot be scaled (never for those that [`ScoredColumns`] accepts).
pub fn hungarian_sparse(candidates: &ScoredColumns) -> Result<Vec<(u32, u32)>> {
    let costs = integer_costs(&candidates.scores)?;
    let n_rows = candidates.n_rows();
    let mut search = Search {
        candidates,
        costs: &costs,
        u: vec![0; n_rows],
        v: vec![0; candidates.n_cols],
        column_of: vec![NONE; n_rows],
        row_of: vec![NONE; candidates.n_cols],
        distance: vec![i64::MAX; candidates.n_cols],
        from: vec![NONE; candidates.n_cols],
        closed: vec![false; candidates.n_cols],
    };
    let free = search.greedy_start();
    for row in free {
        search.augment(row);
    }
    Ok((0..n_rows as u32).filter_map(|i| Some((i, search.column_of[i as usize])).filter(|p| p.1 != NONE)).collect())
}

/// Potentials with `cost - u - v >= 0` for candidates, `-u >= 0` for staying alone, equality on the pairs, `v = 0` on free
/// columns: then the pairing is optimal.
struct Search<'a> {
    candidates: &'a ScoredColumns,
    costs: &'a [i64],
    u: Vec<i64>,
    v: Vec<i64>,
    column_of: Vec<u32>,
    row_of: Vec<u32>,
    distance: Vec<i64>,
    from: Vec<u32>,
    closed: Vec<bool>,
}

impl Search<'_> {
    fn row(&self, i: u32) -> impl Iterator<Item = (usize, i64)> + use<'_> {
        let range = self.candidates.starts[i as usize]..self.candidates.starts[i as usize + 1];
        range.map(|k| (self.candidates.columns[k] as usize, self.costs[k]))
    }

    /// Gives each row its best candidate while that is free; returns the rows left over.
    fn greedy_start(&mut self) -> Vec<u32> {
        let mut left = Vec::new();
        for i in 0..self.candidates.n_rows() as u32 {
            let Some((j, cost)) = self.row(i).min_by_key(|&(j, cost)| (cost, j)) else { continue };
            self.u[i as usize] = cost;
            if self.row_of[j] == NONE {
                self.row_of[j] = i;
                self.column_of[i as usize] = j as u32;
            } else {
                left.push(i);
            }
        }
        left
    }

    /// Shortest way from the free row `start` to a free column or to a row that then stays alone.
    fn augment(&mut self, start: u32) {
        let mut heap: BinaryHeap<Reverse<(i64, bool, u32)>> = BinaryHeap::new();
        let (mut touched, mut closed) = (Vec::new(), Vec::new());
        let (mut row, mut reached) = (start, 0i64);
        // The cheapest row to leave alone, so far.
        let (mut alone, mut alone_at) = (NONE, i64::MAX);
        let end = loop {
            if reached - self.u[row as usize] < alone_at {
                (alone, alone_at) = (row, reached - self.u[row as usize]);
            }
            let range = self.candidates.starts[row as usize]..self.candidates.starts[row as usize + 1];
            for k in range {
                let j = self.candidates.columns[k] as usize;
                let through = reached + self.costs[k] - self.u[row as usize] - self.v[j];
                if through < self.distance[j] && through <= alone_at {
                    if self.distance[j] == i64::MAX {
                        touched.push(j);
                    }
                    self.distance[j] = through;
                    self.from[j] = row;
                    heap.push(Reverse((through, self.row_of[j] != NONE, j as u32)));
                }
            }
            // Stale entries carry a distance that has been bettered.
            let next = loop {
                match heap.pop() {
                    Some(Reverse((d, _, j))) if self.closed[j as usize] || d > self.distance[j as usize] => {}
                    other => break other,
                }
            };
            match next {
                Some(Reverse((d, taken, j))) if d < alone_at || (d == alone_at && !taken) => {
                    reached = d;
                    if !taken {
                        break Some(j);
                    }
                    self.closed[j as usize] = true;
                    closed.push(j as usize);
                    row = self.row_of[j as usize];
                }
                _ => {
                    reached = alone_at;
                    break None;
                }
            }
        };
        self.u[start as usize] += reached;
        for &j in &closed {
            let gain = reached - self.distance[j];
            self.u[self.row_of[j] as usize] += gain;
            self.v[j] -= gain;
        }
        let mut j = match end {
            Some(j) => j,
            // The row gives up its column, or was the free one.
            None => std::mem::replace(&mut self.column_of[alone as usize], NONE),
        };
        while j != NONE {
            let row = self.from[j as usize];
            self.row_of[j as usize] = row;
            std::mem::swap(&mut self.column_of[row as usize], &mut j);
        }
        for j in touched {
            self.distance[j] = i64::MAX;
        }
        for j in closed {
            self.closed[j] = false;
        }
    }
}
