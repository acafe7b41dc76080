//! What does a loaded model do? Token ids of contexts in, activations at its hookpoints out.

use super::shape::ModelShape;
use crate::device::DeviceRows;
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
    /// The same where a device made them, if they were to be kept there.
    pub there: Option<DeviceRows>,
}

/// A context to be run, and where what it holds goes.
pub struct OneContext<'a> {
    /// Its tokens.
    pub ids: &'a [u32],
    /// Positions whose rows are read, one mark for each token.
    pub counted: &'a [bool],
    /// For each hookpoint that is read: `[number counted, width]`, row-major.
    pub out: Vec<&'a mut [f32]>,
    /// For each hookpoint the same rows where a device made them; a backend without one leaves them out.
    pub there: Vec<Option<DeviceRows>>,
    /// For each hookpoint whether they are kept once they have come back; none where it is shorter.
    pub keep: &'a [bool],
}

impl<'a> OneContext<'a> {
    /// With its places to come; of the rows at `n_hookpoints` none stay on a device but those that `keep` marks.
    pub fn new(ids: &'a [u32], counted: &'a [bool], n_hookpoints: usize, keep: &'a [bool]) -> Self {
        OneContext { ids, counted, out: Vec::with_capacity(n_hookpoints), there: vec![None; n_hookpoints], keep }
    }
}

/// A loaded model.
pub trait Model: Send + Sync {
    /// Its sizes.
    fn shape(&self) -> &ModelShape;

    /// Contexts through the network as far as the last of `hookpoints`. What each of these holds at the positions that are counted
    /// goes to the context's places, with nothing held in between. One result for each context, in their order.
    ///
    /// # Errors
    /// `Input` when an id is outside the vocabulary or a context is longer than positions allow; `Request` when the
    /// family has no such hookpoint; `Machine` when a device fails.
    ///
    /// # Panics
    /// When `counted`, or a context's `out`, is of another length.
    fn write_contexts(&self, hookpoints: &[Hookpoint], contexts: &mut [OneContext]) -> Vec<Result<()>>;

    /// One context, at every position: for each of `hookpoints` `[ids.len(), width]`.
    ///
    /// # Errors
    /// As [`Model::write_contexts`].
    fn activations(&self, ids: &[u32], hookpoints: &[Hookpoint]) -> Result<Vec<Matrix<f32>>> {
        let zeros = |&h: &Hookpoint| Ok(Matrix::zeros(ids.len(), self.shape().width(h)?));
        let mut all = hookpoints.iter().map(zeros).collect::<Result<Vec<Matrix<f32>>>>()?;
        let counted = vec![true; ids.len()];
        let mut contexts = [OneContext::new(ids, &counted, hookpoints.len(), &[])];
        contexts[0].out.extend(all.iter_mut().map(Matrix::as_mut_slice));
        self.write_contexts(hookpoints, &mut contexts).into_iter().collect::<Result<()>>()?;
        Ok(all)
    }
}
