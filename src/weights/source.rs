//! What does a reader of a model's weights ask for? Tensors by name, whatever the container.

use crate::error::Result;

/// Where weights come from, whatever the format.
pub trait Source: Send + Sync {
    /// Shape of a tensor; `None` when there is none of that name.
    fn shape(&self, name: &str) -> Option<&[usize]>;

    /// Values `first..first + out.len()` of a tensor, row-major, widened to f32.
    ///
    /// # Errors
    /// `Input` when the tensor's type is not one that is read.
    fn read(&self, name: &str, first: usize, out: &mut [f32]) -> Result<()>;

    /// Number of values in all floating-point tensors.
    fn n_parameters(&self) -> u64;

    /// Name of the file that holds `name`, or of the checkpoint as a whole, for messages.
    fn place(&self, name: &str) -> String;

    /// The tensors' names, in lexicographic order.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_>;
}
