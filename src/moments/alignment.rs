//! How do the tokenizers' tokens share the rows, where rows are pieces of text? Counts over all rows, for the table `alignment`.

use crate::corpus::{LeftOut, TokenBatch};
use crate::error::Result;
use crate::moments::{Accumulator, State};
use crate::store::{StateLayout, StateReader, StateWriter};
use serde::{Deserialize, Serialize};

/// Counts over all rows seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alignment {
    /// Rows.
    pub rows: u64,
    /// Rows of which every tokenizer has one token.
    pub one_to_one: u64,
    /// Bytes of the rows.
    pub bytes: u64,
    /// Tokens in them, `[n_views]`.
    pub tokens: Vec<u64>,
    /// What is in no row.
    pub left_out: LeftOut,
}

impl Alignment {
    /// Share of rows of which every tokenizer has one token; `None` without rows.
    pub fn one_to_one_share(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.one_to_one as f64 / self.rows as f64)
    }

    /// Mean number of a tokenizer's tokens in a row; `None` without rows.
    pub fn tokens_per_row(&self, view: usize) -> Option<f64> {
        (self.rows > 0).then(|| self.tokens.get(view).copied().unwrap_or(0) as f64 / self.rows as f64)
    }
}

impl State for Alignment {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        layout.key("alignment", serde_json::to_value(self).expect("counts are plain data"))
    }

    fn save(&self, _: &mut StateWriter) -> Result<()> {
        Ok(())
    }

    fn load(&mut self, file: &mut StateReader, _: u64) -> Result<()> {
        let read = serde_json::from_value(file.metadata()["alignment"].clone()).map_err(|_| file.misfit())?;
        self.merge(&read)
    }
}

impl Accumulator for Alignment {
    type Batch<'a> = &'a TokenBatch;
    type Shape = ();

    fn fold(&mut self, batch: &TokenBatch) -> Result<()> {
        let mut most = vec![0u32; batch.n_rows()];
        self.tokens.resize(batch.views.len().max(self.tokens.len()), 0);
        for (view, tokens) in batch.views.iter().zip(&mut self.tokens) {
            let mut of_row = vec![0u32; batch.n_rows()];
            view.tokens().for_each(|(row, ..)| of_row[row] += 1);
            *tokens += of_row.iter().map(|n| u64::from(*n)).sum::<u64>();
            most.iter_mut().zip(of_row).for_each(|(most, n)| *most = n.max(*most));
        }
        self.rows += batch.n_rows() as u64;
        self.one_to_one += most.iter().filter(|n| **n == 1).count() as u64;
        self.bytes += batch.rows.iter().filter_map(|row| row.text).map(|text| text.end - text.start).sum::<u64>();
        self.left_out.add(batch.left_out);
        Ok(())
    }

    /// Adds the counts of a run over other documents.
    fn merge(&mut self, other: &Alignment) -> Result<()> {
        self.rows += other.rows;
        self.one_to_one += other.one_to_one;
        self.bytes += other.bytes;
        self.tokens.resize(other.tokens.len().max(self.tokens.len()), 0);
        self.tokens.iter_mut().zip(&other.tokens).for_each(|(mine, theirs)| *mine += theirs);
        self.left_out.add(other.left_out);
        Ok(())
    }

    fn bytes((): &()) -> u64 {
        size_of::<Alignment>() as u64
    }
}
