//! How many documents do the rows come from, and how many rows of the rotated batches are paired with their own document? A chance
//! level by rows of other documents is one only where there are others.

use crate::corpus::TokenBatch;
use crate::error::Result;
use crate::moments::{Accumulator, State, document_rotation};
use crate::store::{StateLayout, StateReader, StateWriter};
use serde::{Deserialize, Serialize};

/// Counts over all rows seen. 4 words, however long the corpus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRows {
    /// Rows seen.
    pub n_rows: u64,
    /// Documents with at least one counted row.
    pub n_documents: u64,
    /// Rows that [`document_rotation`] pairs with a row of the same document.
    pub n_beside_own: u64,
    /// Number of the document of the last row seen.
    pub last: Option<u64>,
}

impl State for DocumentRows {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        layout.key("rows", serde_json::to_value(self).expect("counts are plain data"))
    }

    fn save(&self, _: &mut StateWriter) -> Result<()> {
        Ok(())
    }

    fn load(&mut self, file: &mut StateReader, _: u64) -> Result<()> {
        let read = serde_json::from_value(file.metadata()["rows"].clone()).map_err(|_| file.misfit())?;
        self.merge(&read)
    }
}

impl Accumulator for DocumentRows {
    type Batch<'a> = &'a TokenBatch;
    type Shape = ();

    /// Documents come in order, so that one is new where its number is another than the last one's.
    fn fold(&mut self, batch: &TokenBatch) -> Result<()> {
        let documents: Vec<u64> = (0..batch.n_rows()).map(|r| batch.document_of(r).number).collect();
        let by = document_rotation(documents.len());
        let beside = documents.iter().cycle().skip(by);
        self.n_rows += documents.len() as u64;
        self.n_beside_own += documents.iter().zip(beside).filter(|(own, beside)| own == beside).count() as u64;
        for &number in &documents {
            self.n_documents += u64::from(self.last != Some(number));
            self.last = Some(number);
        }
        Ok(())
    }

    /// Adds the counts of a run over other documents.
    fn merge(&mut self, other: &DocumentRows) -> Result<()> {
        self.n_rows += other.n_rows;
        self.n_documents += other.n_documents;
        self.n_beside_own += other.n_beside_own;
        self.last = other.last.or(self.last);
        Ok(())
    }

    fn bytes((): &()) -> u64 {
        size_of::<DocumentRows>() as u64
    }
}

impl DocumentRows {
    /// Share of rows that are paired with their own document in the rotated batches; `None` before the first row.
    pub fn own_document_share(&self) -> Option<f64> {
        (self.n_rows > 0).then(|| self.n_beside_own as f64 / self.n_rows as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Document;
    use crate::moments::accumulator::tests::keeps_the_contract;
    use proptest::prelude::*;

    /// Contexts of the given documents' rows, cut at `length`, a row that is not counted before each.
    fn batch(documents: &[u64], length: usize) -> TokenBatch {
        let mut batch = TokenBatch::new(0, 0);
        batch.documents = documents.iter().map(|&number| Document { number, ..Document::default() }).collect();
        for (c, rows) in documents.chunks(length).enumerate() {
            let counted: Vec<bool> = (0..=rows.len()).map(|p| p > 0).collect();
            let starts: Vec<(u32, u32)> = (rows.iter().enumerate())
                .filter(|&(p, d)| p == 0 || rows[p - 1] != *d)
                .map(|(p, _)| (if p == 0 { 0 } else { p as u32 + 1 }, (c * length + p) as u32))
                .collect();
            batch.push(vec![0; rows.len() + 1], &counted, &starts);
        }
        batch
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
                got.fold(&batch(part, length)).unwrap();
                beside += (0..part.len()).filter(|r| part[*r] == part[(r + part.len() / 2) % part.len()]).count();
            }
            prop_assert_eq!(got.n_rows, rows.len() as u64);
            prop_assert_eq!(got.n_documents, lengths.len() as u64);
            prop_assert_eq!(got.n_beside_own, beside as u64);
            let mut twice = got.clone();
            twice.merge(&got).unwrap();
            prop_assert_eq!((twice.n_documents, twice.own_document_share()), (2 * got.n_documents, got.own_document_share()));
            // what comes next is counted against the last row that was added
            let mut both = got.clone();
            both.merge(&DocumentRows { n_rows: 1, n_documents: 1, n_beside_own: 0, last: Some(1_000) }).unwrap();
            both.fold(&batch(&[1_000, 1_001], 4)).unwrap();
            prop_assert_eq!(both.n_documents, got.n_documents + 2);
            let before = got.last;
            got.merge(&DocumentRows::default()).unwrap();
            prop_assert_eq!(got.last, before);
        }
    }

    #[test]
    fn one_document_lies_beside_itself_and_two_halves_do_not() {
        let share = |rows: &[u64]| {
            let mut counts = DocumentRows::default();
            counts.fold(&batch(rows, 4)).unwrap();
            counts.own_document_share()
        };
        assert_eq!(share(&[5; 12]), Some(1.0));
        assert_eq!(share(&[1, 1, 1, 2, 2, 2]), Some(0.0));
        assert_eq!(share(&[1, 1, 1, 1, 1, 2]), Some(4.0 / 6.0));
        assert_eq!(share(&[7]), Some(1.0), "a single row has no other to lie beside");
        assert_eq!(share(&[]), None);
    }

    #[test]
    fn counts_go_through_a_file() {
        let [mut a, mut b] = [(); 2].map(|()| DocumentRows::default());
        a.fold(&batch(&[1, 1, 2], 4)).unwrap();
        b.fold(&batch(&[7, 8], 4)).unwrap();
        keeps_the_contract(&DocumentRows::default(), [&a, &b], None);
    }
}
