//! Firings and sums per label value (language, domain …): how often a latent fires on each kind of document.

use crate::corpus::TokenBatch;
use crate::error::{Error, Result};
use crate::sae::LatentBatch;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Distinct values one label field may take; a field with more is an id, not a label.
pub const MAX_LABEL_VALUES: usize = 64;

/// A label: field (index into the options' `labels`) and value.
pub type LabelKey = (usize, String);

/// Sums of one space on the rows of one label value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LabelCount {
    /// Rows seen with this label.
    pub n_rows: u64,
    /// `[d_sae]` rows in which the latent was not 0.
    pub n_active: Vec<u64>,
    /// `[d_sae]` Σx.
    pub sum: Vec<f64>,
}

/// Sums of one space by label, in order of field and value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LabelSums {
    d_sae: usize,
    labels: BTreeMap<LabelKey, LabelCount>,
}

impl LabelSums {
    /// Nothing seen yet, for `d_sae` latents.
    pub fn new(d_sae: usize) -> Self {
        LabelSums { d_sae, labels: BTreeMap::new() }
    }

    /// All labels seen, in order.
    pub fn labels(&self) -> impl Iterator<Item = (&LabelKey, &LabelCount)> {
        self.labels.iter()
    }

    /// The sums of one label.
    pub fn get(&self, key: &LabelKey) -> Option<&LabelCount> {
        self.labels.get(key)
    }

    /// Puts a label's sums in place, as read from a state file; `false` when they do not fit.
    #[must_use]
    pub fn restore(&mut self, key: LabelKey, count: LabelCount) -> bool {
        let fits = count.n_active.len() == self.d_sae && count.sum.len() == self.d_sae;
        if fits {
            self.labels.insert(key, count);
        }
        fits
    }

    /// Adds a batch; `latents` has one row for every row of `tokens`.
    ///
    /// # Errors
    /// `Input` when a field takes more than [`MAX_LABEL_VALUES`] values.
    pub fn fold(&mut self, tokens: &TokenBatch, latents: &LatentBatch, fields: &[String]) -> Result<()> {
        if fields.is_empty() {
            return Ok(());
        }
        for r in 0..tokens.n_rows() {
            let document = tokens.document_of(r);
            let (ids, values) = latents.row(r);
            for (field, value) in document.labels.iter().enumerate() {
                let Some(value) = value else { continue };
                let count = match self.labels.get_mut(&(field, value.clone())) {
                    Some(count) => count,
                    None => {
                        let known = self.labels.keys().filter(|k| k.0 == field).count();
                        if known == MAX_LABEL_VALUES {
                            return Err(Error::input(format!(
                                "label {:?} takes more than {MAX_LABEL_VALUES} values (document {:?} adds {value:?}); \
                                 it looks like an identifier: leave it out of [corpus] labels",
                                fields[field], document.name
                            )));
                        }
                        self.labels.entry((field, value.clone())).or_insert_with(|| LabelCount {
                            n_rows: 0,
                            n_active: vec![0; self.d_sae],
                            sum: vec![0.0; self.d_sae],
                        })
                    }
                };
                count.n_rows += 1;
                for (&latent, &x) in ids.iter().zip(values) {
                    count.n_active[latent as usize] += 1;
                    count.sum[latent as usize] += f64::from(x);
                }
            }
        }
        Ok(())
    }

    /// Adds the sums of other rows of the same space; `fields` names the label fields.
    ///
    /// # Errors
    /// `Input` when a field takes more than [`MAX_LABEL_VALUES`] values.
    pub fn merge(&mut self, other: &LabelSums, fields: &[String]) -> Result<()> {
        for (key, theirs) in &other.labels {
            match self.labels.get_mut(key) {
                None => {
                    if self.labels.keys().filter(|k| k.0 == key.0).count() == MAX_LABEL_VALUES {
                        return Err(Error::input(format!(
                            "label {:?} takes more than {MAX_LABEL_VALUES} values in all (one is {:?}); leave it out of \
                             [corpus] labels",
                            fields[key.0], key.1
                        )));
                    }
                    self.labels.insert(key.clone(), theirs.clone());
                }
                Some(mine) => {
                    mine.n_rows += theirs.n_rows;
                    mine.n_active.iter_mut().zip(&theirs.n_active).for_each(|(a, b)| *a += b);
                    mine.sum.iter_mut().zip(&theirs.sum).for_each(|(a, b)| *a += b);
                }
            }
        }
        Ok(())
    }
}
