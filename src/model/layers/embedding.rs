//! Which row belongs to a token? Tables stay in the checkpoint (mapped, in their stored type); rows are widened when
//! they are looked up, so a vocabulary of 256k costs no memory.

use super::pool::buffer;
use super::tensors::device_error;
use crate::error::Result;
use crate::weights::Source;
use candle_core::{Device, Tensor};
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

    /// The rows named by `ids`, each inside the table, times `scale`: `[n_tokens, d]` f32.
    ///
    /// # Errors
    /// `Machine` when the tensor library fails; as the checkpoint's reading otherwise.
    pub fn rows(
        &self,
        ids: impl ExactSizeIterator<Item = usize>,
        scale: Option<f32>,
        device: &Device,
    ) -> Result<Tensor> {
        let n = ids.len();
        let mut values = buffer(n * self.d);
        for (id, row) in ids.zip(values.chunks_exact_mut(self.d)) {
            self.source.read(&self.name, id * self.d, row)?;
        }
        if let Some(scale) = scale {
            values.iter_mut().for_each(|v| *v *= scale);
        }
        Tensor::from_vec(values, (n, self.d), device).map_err(device_error)
    }
}
