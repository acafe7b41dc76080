//! Which documents are read at all? `[corpus] sample` decides for each document alone, by a hash of a seed and the document's
//! position. A corpus that is sorted by source is then not read from its front only.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// `[corpus] sample = {…}`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Share of documents that are kept, above 0 and at most 1.
    pub fraction: f64,
    /// Which ones.
    #[serde(default)]
    pub seed: u64,
}

impl Sample {
    /// Refuses a share that keeps nothing, or is none.
    ///
    /// # Errors
    /// `Request`.
    pub(super) fn check(&self) -> Result<()> {
        if self.fraction > 0.0 && self.fraction <= 1.0 {
            return Ok(());
        }
        Err(Error::request(format!(
            "[corpus] sample keeps a fraction of {}; expected a share of the documents above 0, at most 1",
            self.fraction
        )))
    }

    /// Whether a document is kept: part `part` of record `record` of the file with the key `file`.
    pub(super) fn keeps(&self, file: u64, record: u64, part: u32) -> bool {
        let mut hasher = blake3::Hasher::new();
        for word in [self.seed, file, record, u64::from(part)] {
            hasher.update(&word.to_le_bytes());
        }
        let hash = hasher.finalize();
        let word = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("eight bytes"));
        // 53 bits, which a float holds: a number in [0, 1)
        ((word >> 11) as f64) / ((1u64 << 53) as f64) < self.fraction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_share_keeps_what_a_smaller_one_keeps_and_about_as_many_as_asked_for() {
        let kept = |fraction, seed| -> Vec<u64> {
            let sample = Sample { fraction, seed };
            (0..20_000).filter(|&record| sample.keeps(7, record, 0)).collect()
        };
        let (tenth, half) = (kept(0.1, 1), kept(0.5, 1));
        assert!(tenth.iter().all(|record| half.contains(record)));
        // five standard deviations of a binomial
        assert!((tenth.len() as f64 - 2_000.0).abs() < 5.0 * 1_800f64.sqrt(), "{}", tenth.len());
        assert!((half.len() as f64 - 10_000.0).abs() < 5.0 * 5_000f64.sqrt(), "{}", half.len());
        assert_eq!(kept(1.0, 1).len(), 20_000);
        assert_ne!(kept(0.5, 2), half);
        let parts =
            |part| (0..100).filter(|&r| Sample { fraction: 0.5, seed: 1 }.keeps(7, r, part)).collect::<Vec<u64>>();
        assert_ne!(parts(0), parts(1));
        let of_file =
            |file| (0..100).filter(|&r| Sample { fraction: 0.5, seed: 1 }.keeps(file, r, 0)).collect::<Vec<u64>>();
        assert_ne!(of_file(7), of_file(8));
        for fraction in [0.0, -1.0, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Sample { fraction, seed: 0 }.check().is_err());
        }
    }
}
