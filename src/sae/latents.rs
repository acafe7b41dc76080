//! The output of an encoder: the latents that fired, row by row.

use crate::linalg::Matrix;
use serde::{Deserialize, Serialize};

/// Latent activations of a batch in compressed sparse rows: `[n_rows, d_sae]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatentBatch {
    /// Number of latents of the SAE.
    pub d_sae: usize,
    /// Row r holds entries `row_starts[r]..row_starts[r + 1]`: `[n_rows + 1]`.
    pub row_starts: Vec<u32>,
    /// Latent of each entry, ascending inside a row.
    pub latents: Vec<u32>,
    /// Activation of each entry; never 0.
    pub values: Vec<f32>,
    /// Where rows of several tokens were pooled: of each entry the token on which the latent is greatest, the first of equals, as an index
    /// among the tokens that were pooled. Empty where each token is a row, and where the last token is what counts.
    #[serde(default)]
    pub peaks: Vec<u32>,
}

impl LatentBatch {
    /// The dimensions of `x: [n_rows, d]` as they are, each in the place of a latent. Fewer than 2³² values.
    ///
    /// # Panics
    /// When there are more.
    pub fn of_dimensions(x: &Matrix<f32>) -> Self {
        let d = x.n_cols();
        assert!(x.as_slice().len() <= u32::MAX as usize, "a batch of {} values", x.as_slice().len());
        let mut out = LatentBatch {
            d_sae: d,
            row_starts: Vec::with_capacity(x.n_rows() + 1),
            latents: Vec::with_capacity(x.as_slice().len()),
            values: Vec::with_capacity(x.as_slice().len()),
            peaks: Vec::new(),
        };
        out.row_starts.push(0);
        for r in 0..x.n_rows() {
            for (j, &v) in x.row(r).iter().enumerate().filter(|(_, v)| **v != 0.0) {
                out.latents.push(j as u32);
                out.values.push(v);
            }
            out.row_starts.push(out.latents.len() as u32);
        }
        out
    }

    /// The same by rows of the batch, where it was by tokens: `row_of: [self.n_rows()]`, ascending, names the row of each token.
    /// Where each token is a row of its own nothing changes. A row that no token belongs to has no latents.
    ///
    /// # Panics
    /// When `row_of` is of another length, not ascending, or names a row of `n_rows` or more.
    pub fn pooled(self, row_of: &[u32], n_rows: usize, pool: Pool) -> LatentBatch {
        assert_eq!(row_of.len(), self.n_rows(), "a row for each token");
        if n_rows == row_of.len() && (0u32..).zip(row_of).all(|(token, row)| token == *row) {
            return self;
        }
        assert!(row_of.is_sorted() && row_of.last().is_none_or(|&last| (last as usize) < n_rows), "rows of this batch");
        let mut out = LatentBatch { d_sae: self.d_sae, row_starts: vec![0], ..LatentBatch::default() };
        let mut first = 0;
        let mut entries: Vec<(u32, f32, u32)> = Vec::new();
        for row in 0..n_rows as u32 {
            let n_tokens = row_of[first..].partition_point(|&r| r == row);
            let tokens = first..first + n_tokens;
            first += n_tokens;
            entries.clear();
            let pooled =
                if pool == Pool::Last { tokens.end.saturating_sub(1).max(tokens.start)..tokens.end } else { tokens };
            for token in pooled {
                let (latents, values) = self.row(token);
                entries.extend(latents.iter().zip(values).map(|(&latent, &value)| (latent, value, token as u32)));
            }
            // stable: a latent's values stay in order of token
            entries.sort_by_key(|(latent, ..)| *latent);
            for of_latent in entries.chunk_by(|a, b| a.0 == b.0) {
                let value = pool.of(of_latent.iter().map(|(_, value, _)| *value), n_tokens);
                if value != 0.0 {
                    out.latents.push(of_latent[0].0);
                    out.values.push(value);
                    if pool != Pool::Last {
                        let peak = of_latent.iter().reduce(|best, next| if next.1 > best.1 { next } else { best });
                        out.peaks.push(peak.map_or(0, |(.., token)| *token));
                    }
                }
            }
            out.row_starts.push(out.latents.len() as u32);
        }
        out
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.row_starts.len().saturating_sub(1)
    }

    /// Latents and values of row `r`.
    pub fn row(&self, r: usize) -> (&[u32], &[f32]) {
        let span = self.row_starts[r] as usize..self.row_starts[r + 1] as usize;
        (&self.latents[span.clone()], &self.values[span])
    }
}

/// What a row of several tokens has of a latent's activations on them; a token on which it does not fire counts as 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// The greatest.
    #[default]
    Max,
    /// That of the last token.
    Last,
    /// The mean over the row's tokens, summed in f64 in order of token.
    Mean,
    /// The sum, as for the mean.
    Sum,
}

impl Pool {
    /// Dense rows of tokens, `x: [n_tokens, d]`, by rows of the batch, `[n_rows, d]`; `row_of: [n_tokens]`, ascending, names the row of each.
    /// A row that no token belongs to is 0.
    ///
    /// # Panics
    /// When `row_of` is of another length, not ascending, or names a row of `n_rows` or more.
    pub fn rows(self, x: &Matrix<f32>, row_of: &[u32], n_rows: usize) -> Matrix<f32> {
        assert_eq!(row_of.len(), x.n_rows(), "a row for each token");
        assert!(row_of.is_sorted() && row_of.last().is_none_or(|&last| (last as usize) < n_rows), "rows of this batch");
        let mut out = Matrix::zeros(n_rows, x.n_cols());
        let mut first = 0;
        for tokens in row_of.chunk_by(|a, b| a == b) {
            let of_row = first..first + tokens.len();
            first = of_row.end;
            let row = out.row_mut(tokens[0] as usize);
            match self {
                Pool::Last => row.copy_from_slice(x.row(of_row.end - 1)),
                Pool::Max => {
                    row.copy_from_slice(x.row(of_row.start));
                    of_row.skip(1).for_each(|t| row.iter_mut().zip(x.row(t)).for_each(|(a, b)| *a = a.max(*b)));
                }
                Pool::Mean | Pool::Sum => {
                    let by = if self == Pool::Mean { tokens.len() as f64 } else { 1.0 };
                    for (j, value) in row.iter_mut().enumerate() {
                        *value = (of_row.clone().map(|t| f64::from(x.row(t)[j])).sum::<f64>() / by) as f32;
                    }
                }
            }
        }
        out
    }

    /// Of the values that are not 0, in order of token, among `n_tokens` tokens.
    fn of(self, values: impl ExactSizeIterator<Item = f32> + Clone, n_tokens: usize) -> f32 {
        let sum = || values.clone().map(f64::from).sum::<f64>();
        match self {
            Pool::Max => {
                let silent = if values.len() < n_tokens { 0.0 } else { f32::NEG_INFINITY };
                values.clone().fold(silent, f32::max)
            }
            Pool::Last => values.clone().last().unwrap_or(0.0),
            Pool::Mean => (sum() / n_tokens as f64) as f32,
            Pool::Sum => sum() as f32,
        }
    }
}

/// Which of an SAE's outputs is streamed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encode {
    /// The SAE's own output, after its selection (top-k, threshold …).
    #[default]
    Sparse,
    /// Activations before a top-k selection (after ReLU), as the paper used for Pythia. Only a selection across latents
    /// (top-k, group maximum) is left out; thresholds and gates belong to the activation function and stay.
    Dense,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sparse(dense: &[Vec<f32>], d: usize) -> LatentBatch {
        let x = Matrix::from_vec(dense.len(), d, dense.concat());
        LatentBatch::of_dimensions(&x)
    }

    proptest! {
        /// Against the dense definition, a row at a time; values of both signs, rows without tokens, rows of one.
        #[test]
        fn pooling_is_that_of_dense_rows(
            tokens in prop::collection::vec((0usize..3, prop::collection::vec(prop_oneof![Just(0f32), -3f32..4.0], 5)), 0..20),
            behind in 0usize..3,
        ) {
            // each token begins so many rows behind the last one's
            let row_of: Vec<u32> = tokens.iter().scan(0, |row, t| { *row += t.0 as u32; Some(*row) }).collect();
            let n_rows = row_of.last().map_or(0, |last| *last as usize + 1) + behind;
            let dense: Vec<Vec<f32>> = tokens.iter().map(|t| t.1.clone()).collect();
            for pool in [Pool::Max, Pool::Last, Pool::Mean, Pool::Sum] {
                let expected: Vec<Vec<f32>> = (0..n_rows as u32)
                    .map(|row| {
                        let own: Vec<&Vec<f32>> = (0..dense.len()).filter(|&t| row_of[t] == row).map(|t| &dense[t]).collect();
                        let of = |j: usize| {
                            let values: Vec<f32> = own.iter().map(|x| x[j]).collect();
                            let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
                            match pool {
                                _ if values.is_empty() => 0.0,
                                Pool::Max => values.iter().copied().reduce(f32::max).unwrap(),
                                Pool::Last => *values.last().unwrap(),
                                Pool::Mean => (sum / values.len() as f64) as f32,
                                Pool::Sum => sum as f32,
                            }
                        };
                        (0..5).map(of).collect()
                    })
                    .collect();
                let mut found = sparse(&dense, 5).pooled(&row_of, n_rows, pool);
                let peaks = std::mem::take(&mut found.peaks);
                prop_assert_eq!(&found, &sparse(&expected, 5), "{:?}", pool);
                let is_as_it_was = row_of.iter().enumerate().all(|(t, row)| t as u32 == *row) && n_rows == row_of.len();
                prop_assert_eq!(peaks.len(), if pool == Pool::Last || is_as_it_was { 0 } else { found.values.len() });
                for row in 0..n_rows {
                    let of_row = found.row_starts[row] as usize..found.row_starts[row + 1] as usize;
                    for (peak, j) in peaks.get(of_row.clone()).into_iter().flatten().zip(&found.latents[of_row]) {
                        let (peak, j) = (*peak as usize, *j as usize);
                        prop_assert_eq!(row_of[peak] as usize, row);
                        // the first of the greatest among the tokens on which the latent is not 0
                        let fires = |t: &usize| row_of[*t] as usize == row && dense[*t][j] != 0.0;
                        let (value, best) = (|t: usize| dense[t][j], dense[peak][j]);
                        let is_first = (0..dense.len()).filter(fires).all(|t| value(t) < best || t >= peak && value(t) == best);
                        prop_assert!(is_first);
                    }
                }
                let rows = pool.rows(&Matrix::from_vec(dense.len(), 5, dense.concat()), &row_of, n_rows);
                prop_assert_eq!(rows, Matrix::from_vec(n_rows, 5, expected.concat()), "{:?}", pool);
            }
        }

        /// Where each token is a row, nothing changes.
        #[test]
        fn a_token_to_a_row_changes_nothing(tokens in prop::collection::vec(prop::collection::vec(-1f32..1.0, 4), 1..9)) {
            let rows: Vec<u32> = (0..tokens.len() as u32).collect();
            for pool in [Pool::Max, Pool::Last, Pool::Mean, Pool::Sum] {
                prop_assert_eq!(sparse(&tokens, 4).pooled(&rows, rows.len(), pool), sparse(&tokens, 4));
            }
        }
    }
}
