//! In how many documents does a latent fire? Firings in one document are not independent evidence.

use crate::corpus::TokenBatch;
use crate::error::Result;
use crate::moments::{Accumulator, State};
use crate::sae::LatentBatch;
use crate::store::{StateLayout, StateReader, StateWriter};

/// Documents in which each latent of a space fired, `[d_sae]`.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentCounts {
    n: Vec<u32>,
    /// Number of the last of them, plus 1; 0 for none.
    last: Vec<u64>,
}

impl DocumentCounts {
    /// Nothing seen yet.
    pub fn new(d_sae: usize) -> Self {
        DocumentCounts { n: vec![0; d_sae], last: vec![0; d_sae] }
    }

    /// Of each latent.
    pub fn counts(&self) -> &[u32] {
        &self.n
    }
}

impl State for DocumentCounts {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        let d = self.n.len();
        layout.tensor::<u64>("documents.last", &[d]).tensor::<u32>("documents.n", &[d])
    }

    fn save(&self, file: &mut StateWriter) -> Result<()> {
        file.put("documents.last", &self.last)?;
        file.put("documents.n", &self.n)
    }

    fn load(&mut self, file: &mut StateReader, first_row: u64) -> Result<()> {
        let read = DocumentCounts { last: file.tensor("documents.last")?, n: file.tensor("documents.n")? };
        if [read.n.len(), read.last.len()] != [self.n.len(); 2] {
            return Err(file.misfit());
        }
        if first_row == 0 {
            *self = read;
            return Ok(());
        }
        self.merge(&read)
    }
}

impl Accumulator for DocumentCounts {
    type Batch<'a> = (&'a TokenBatch, &'a LatentBatch);
    /// Number of latents.
    type Shape = usize;

    /// A document's rows come one behind the other, in one batch or several.
    fn fold(&mut self, (tokens, latents): Self::Batch<'_>) -> Result<()> {
        for r in 0..latents.n_rows() {
            let document = tokens.document_of(r).number + 1;
            for &latent in latents.row(r).0 {
                let last = &mut self.last[latent as usize];
                self.n[latent as usize] += u32::from(*last != document);
                *last = document;
            }
        }
        Ok(())
    }

    /// Adds the counts of other documents; none of them is open any more.
    fn merge(&mut self, other: &DocumentCounts) -> Result<()> {
        self.n.iter_mut().zip(&other.n).for_each(|(a, b)| *a += b);
        self.last.fill(0);
        Ok(())
    }

    fn bytes(&d_sae: &usize) -> u64 {
        12 * d_sae as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Document;
    use crate::moments::accumulator::tests::keeps_the_contract;

    #[test]
    fn a_document_counts_once_over_any_batches_and_the_counts_go_through_a_file() {
        let batch = |rows: &[(u64, u32)]| {
            let mut tokens = TokenBatch::new(0, 0);
            tokens.documents = rows.iter().map(|r| Document { number: r.0, ..Document::default() }).collect();
            let starts: Vec<(u32, u32)> = (0..rows.len() as u32).map(|p| (p, p)).collect();
            tokens.push(vec![0; rows.len()], &vec![true; rows.len()], &starts);
            let latents = LatentBatch {
                d_sae: 3,
                row_starts: (0..=rows.len() as u32).collect(),
                latents: rows.iter().map(|r| r.1).collect(),
                values: vec![1.0; rows.len()],
                ..LatentBatch::default()
            };
            (tokens, latents)
        };
        let of = |batches: &[&[(u64, u32)]]| {
            let mut counts = DocumentCounts::new(3);
            for rows in batches {
                let (tokens, latents) = batch(rows);
                counts.fold((&tokens, &latents)).unwrap();
            }
            counts
        };
        let cut = of(&[&[(0, 1), (0, 1), (1, 1)], &[(1, 1), (1, 2), (2, 1)]]);
        assert_eq!(cut, of(&[&[(0, 1), (0, 1), (1, 1), (1, 1), (1, 2), (2, 1)]]));
        assert_eq!(cut.counts(), [0, 3, 1]);
        keeps_the_contract(&DocumentCounts::new(3), [&cut, &of(&[&[(9, 0)]])], Some(&DocumentCounts::new(2)));
    }
}
