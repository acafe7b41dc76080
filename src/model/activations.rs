//! What does a loaded model do? Token ids of one context in, activations at its hookpoints out.

use super::shape::ModelShape;
use crate::error::Result;
use crate::ids::Hookpoint;
use crate::linalg::Matrix;

/// What a forward gives at one hookpoint, special tokens already left out.
#[derive(Clone, Debug)]
pub struct ActivationBatch {
    /// Where it was read.
    pub hookpoint: Hookpoint,
    /// `[n_rows, width]` f32; row i is the same token in every model and hookpoint.
    pub x: Matrix<f32>,
}

/// A loaded model.
pub trait Model: Send + Sync {
    /// Its sizes.
    fn shape(&self) -> &ModelShape;

    /// One context through the network as far as the last hookpoint asked for. What each of `hookpoints` holds at the positions
    /// that are `counted` goes to its `out`, in that order: `[number counted, width]`, row-major, with nothing held in between.
    ///
    /// # Errors
    /// `Input` when an id is outside the vocabulary or the context is longer than positions allow; `Request` when the
    /// family has no such hookpoint.
    ///
    /// # Panics
    /// When `counted` or an `out` is of another length.
    fn write_activations(
        &self,
        ids: &[u32],
        hookpoints: &[Hookpoint],
        counted: &[bool],
        out: &mut [&mut [f32]],
    ) -> Result<()>;

    /// The same at every position, for each of `hookpoints` `[ids.len(), width]`.
    ///
    /// # Errors
    /// As [`Model::write_activations`].
    fn activations(&self, ids: &[u32], hookpoints: &[Hookpoint]) -> Result<Vec<Matrix<f32>>> {
        let zeros = |&h: &Hookpoint| Ok(Matrix::zeros(ids.len(), self.shape().width(h)?));
        let mut all = hookpoints.iter().map(zeros).collect::<Result<Vec<Matrix<f32>>>>()?;
        let mut out: Vec<&mut [f32]> = all.iter_mut().map(Matrix::as_mut_slice).collect();
        self.write_activations(ids, hookpoints, &vec![true; ids.len()], &mut out)?;
        Ok(all)
    }
}
