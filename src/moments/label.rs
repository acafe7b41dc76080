//! Firings and sums per label value (language, domain …): how often a latent fires on each kind of document.

use crate::corpus::TokenBatch;
use crate::error::{Error, Result};
use crate::moments::{Accumulator, State};
use crate::sae::LatentBatch;
use crate::store::{StateLayout, StateReader, StateWriter};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

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
    /// Names of the fields, for messages.
    fields: Arc<[String]>,
    labels: BTreeMap<LabelKey, LabelCount>,
}

impl LabelSums {
    /// Nothing seen yet, for `d_sae` latents and the label fields of these names.
    pub fn new(d_sae: usize, fields: Arc<[String]>) -> Self {
        LabelSums { d_sae, fields, labels: BTreeMap::new() }
    }

    /// All labels seen, in order.
    pub fn labels(&self) -> impl Iterator<Item = (&LabelKey, &LabelCount)> {
        self.labels.iter()
    }

    /// The sums of one label.
    pub fn get(&self, key: &LabelKey) -> Option<&LabelCount> {
        self.labels.get(key)
    }
}

impl State for LabelSums {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        let said = |(k, c): (&LabelKey, &LabelCount)| json!({ "field": k.0, "value": k.1, "n_rows": c.n_rows });
        let labels: Vec<serde_json::Value> = self.labels.iter().map(said).collect();
        let shape = [labels.len(), self.d_sae];
        layout.key("labels", labels).tensor::<u64>("labels.n_active", &shape).tensor::<f64>("labels.sum", &shape)
    }

    fn save(&self, file: &mut StateWriter) -> Result<()> {
        self.labels.values().try_for_each(|count| file.put("labels.n_active", &count.n_active))?;
        self.labels.values().try_for_each(|count| file.put("labels.sum", &count.sum))
    }

    fn load(&mut self, file: &mut StateReader, _: u64) -> Result<()> {
        let d = self.d_sae;
        let mut read = LabelSums::new(d, self.fields.clone());
        let labels = file.metadata()["labels"].as_array().cloned().unwrap_or_default();
        if file.shape("labels.sum")? != [labels.len(), d] {
            return Err(file.misfit());
        }
        for (k, label) in labels.iter().enumerate() {
            let number = |key: &str| label[key].as_u64().ok_or_else(|| file.misfit());
            let (n_rows, field) = (number("n_rows")?, number("field")? as usize);
            if field >= self.fields.len() {
                return Err(file.misfit());
            }
            let mut count = LabelCount { n_rows, n_active: vec![0; d], sum: vec![0.0; d] };
            file.read_at("labels.n_active", k * d, &mut count.n_active)?;
            file.read_at("labels.sum", k * d, &mut count.sum)?;
            read.labels.insert((field, label["value"].as_str().unwrap_or_default().to_string()), count);
        }
        self.merge(&read)
    }
}

impl Accumulator for LabelSums {
    /// The latents have one row for every row of the tokens.
    type Batch<'a> = (&'a TokenBatch, &'a LatentBatch);
    /// Number of latents, and of label fields.
    type Shape = (usize, usize);

    /// # Errors
    /// `Input` when a field takes more than [`MAX_LABEL_VALUES`] values.
    fn fold(&mut self, (tokens, latents): Self::Batch<'_>) -> Result<()> {
        if self.fields.is_empty() {
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
                                self.fields[field], document.name
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

    /// # Errors
    /// `Input` when a field takes more than [`MAX_LABEL_VALUES`] values.
    fn merge(&mut self, other: &LabelSums) -> Result<()> {
        for (key, theirs) in &other.labels {
            match self.labels.get_mut(key) {
                None => {
                    if self.labels.keys().filter(|k| k.0 == key.0).count() == MAX_LABEL_VALUES {
                        return Err(Error::input(format!(
                            "label {:?} takes more than {MAX_LABEL_VALUES} values in all (one is {:?}); leave it out of \
                             [corpus] labels",
                            self.fields[key.0], key.1
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

    /// Room for eight values of each field.
    fn bytes(&(d_sae, n_fields): &Self::Shape) -> u64 {
        (d_sae * 16 * 8 * n_fields) as u64
    }
}
