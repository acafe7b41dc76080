//! How many documents stand behind the rows, and how many rows of the rotated batches lie beside their own document? A chance
//! level by rows of other documents is one only where there are others.

use crate::corpus::TokenBatch;
use crate::moments::document_rotation;
use serde::{Deserialize, Serialize};

/// Counts over all rows seen. 4 words, however long the corpus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRows {
    /// Rows seen.
    pub n_rows: u64,
    /// Documents with at least one counted row.
    pub n_documents: u64,
    /// Rows beside which [`document_rotation`] lays a row of the same document.
    pub n_beside_own: u64,
    /// Number of the document of the last row seen.
    pub last: Option<u64>,
}

impl DocumentRows {
    /// Adds a batch. Batches come in order, and documents in order inside them, so that a document is new where its number is
    /// another than the last one's.
    pub fn fold(&mut self, batch: &TokenBatch) {
        let documents: Vec<u64> = batch.rows().map(|(c, p)| batch.document_of(c, p).number).collect();
        let by = document_rotation(documents.len());
        let beside = documents.iter().cycle().skip(by);
        self.n_rows += documents.len() as u64;
        self.n_beside_own += documents.iter().zip(beside).filter(|(own, beside)| own == beside).count() as u64;
        for &number in &documents {
            self.n_documents += u64::from(self.last != Some(number));
            self.last = Some(number);
        }
    }

    /// Adds the counts of a run over other documents.
    pub fn merge(&mut self, other: &DocumentRows) {
        self.n_rows += other.n_rows;
        self.n_documents += other.n_documents;
        self.n_beside_own += other.n_beside_own;
        self.last = other.last.or(self.last);
    }

    /// Share of rows that lie beside their own document in the rotated batches; `None` before the first row.
    pub fn own_document_share(&self) -> Option<f64> {
        (self.n_rows > 0).then(|| self.n_beside_own as f64 / self.n_rows as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{Context, Document};
    use proptest::prelude::*;

    /// Contexts of the given documents' rows, cut at `length`, a row that is not counted before each.
    fn batch(documents: &[u64], length: usize) -> TokenBatch {
        let contexts = documents.chunks(length).enumerate().map(|(c, rows)| Context {
            ids: vec![0; rows.len() + 1],
            counted: (0..=rows.len()).map(|p| p > 0).collect(),
            documents: (rows.iter().enumerate())
                .filter(|&(p, d)| p == 0 || rows[p - 1] != *d)
                .map(|(p, _)| (if p == 0 { 0 } else { p as u32 + 1 }, (c * length + p) as u32))
                .collect(),
        });
        let of = |&number: &u64| Document { number, ..Document::default() };
        TokenBatch { contexts: contexts.collect(), documents: documents.iter().map(of).collect(), ..Default::default() }
    }

    proptest! {
        /// Plain counts: documents by a set, rotated rows by their place; and any cut into batches counts each document once.
        #[test]
        fn counts_are_the_plain_ones(
            lengths in prop::collection::vec(1usize..30, 1..9), size in 1usize..40, length in 1usize..9,
        ) {
            let rows: Vec<u64> = (0u64..).zip(&lengths).flat_map(|(d, &n)| std::iter::repeat_n(3 * d, n)).collect();
            let mut got = DocumentRows::default();
            let mut beside = 0;
            for part in rows.chunks(size) {
                got.fold(&batch(part, length));
                beside += (0..part.len()).filter(|r| part[*r] == part[(r + part.len() / 2) % part.len()]).count();
            }
            prop_assert_eq!(got.n_rows, rows.len() as u64);
            prop_assert_eq!(got.n_documents, lengths.len() as u64);
            prop_assert_eq!(got.n_beside_own, beside as u64);
            let mut twice = got.clone();
            twice.merge(&got);
            prop_assert_eq!((twice.n_documents, twice.own_document_share()), (2 * got.n_documents, got.own_document_share()));
            // what comes next is counted against the last row that was added
            let mut both = got.clone();
            both.merge(&DocumentRows { n_rows: 1, n_documents: 1, n_beside_own: 0, last: Some(1_000) });
            both.fold(&batch(&[1_000, 1_001], 4));
            prop_assert_eq!(both.n_documents, got.n_documents + 2);
            let before = got.last;
            got.merge(&DocumentRows::default());
            prop_assert_eq!(got.last, before);
        }
    }

    #[test]
    fn one_document_lies_beside_itself_and_two_halves_do_not() {
        let share = |rows: &[u64]| {
            let mut counts = DocumentRows::default();
            counts.fold(&batch(rows, 4));
            counts.own_document_share()
        };
        assert_eq!(share(&[5; 12]), Some(1.0));
        assert_eq!(share(&[1, 1, 1, 2, 2, 2]), Some(0.0));
        assert_eq!(share(&[1, 1, 1, 1, 1, 2]), Some(4.0 / 6.0));
        assert_eq!(share(&[7]), Some(1.0), "a single row has no other to lie beside");
        assert_eq!(share(&[]), None);
    }
}
