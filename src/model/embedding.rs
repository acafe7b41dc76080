//! Which row belongs to a token? Tables stay in the checkpoint (mapped, in their stored type); rows are widened when
//! they are looked up, so a vocabulary of 256k costs no memory.

use super::pool::buffer;
use crate::error::Result;
use crate::weights::Source;
use std::sync::Arc;

/// A table of rows.
#[derive(Clone)]
pub struct Embedding {
    source: Arc<dyn Source>,
    name: String,
    d: usize,
}

impl Embedding {
    /// The table `name: [n, d]` of `source`; its shape has been checked.
    pub fn new(source: Arc<dyn Source>, name: String, d: usize) -> Self {
        Embedding { source, name, d }
    }

    /// Width of a row.
    pub fn width(&self) -> usize {
        self.d
    }

    /// The rows named by `ids`, each inside the table, times `scale`: `[n, d]` f32. `None` is padding, a row of 0.
    ///
    /// # Errors
    /// As the checkpoint's reading.
    pub fn rows(&self, ids: impl ExactSizeIterator<Item = Option<usize>>, scale: Option<f32>) -> Result<Vec<f32>> {
        let mut values = buffer(ids.len() * self.d);
        for (id, row) in ids.zip(values.chunks_exact_mut(self.d)) {
            match id {
                Some(id) => self.source.read(&self.name, id * self.d, row)?,
                None => row.fill(0.0),
            }
        }
        if let Some(scale) = scale {
            values.iter_mut().for_each(|v| *v *= scale);
        }
        Ok(values)
    }
}
