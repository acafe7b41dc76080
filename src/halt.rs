//! Is a stop asked for? Long work takes a [`Halt`] and checks it between units: a pair, a permutation, a chunk of rows. It does not learn where
//! the request comes from.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::sync::Arc;

/// Whether work is to stop. Once the answer is yes it stays yes, so that work that has stopped can be distinguished
/// from work that is done.
#[derive(Clone, Default)]
pub struct Halt(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Halt {
    /// For work that is always wanted.
    pub const NEVER: Halt = Halt(None);

    /// Asks `asked` each time.
    pub fn when(asked: impl Fn() -> bool + Send + Sync + 'static) -> Halt {
        Halt(Some(Arc::new(asked)))
    }

    /// Whether work is to stop.
    pub fn is_asked(&self) -> bool {
        self.0.as_ref().is_some_and(|asked| asked())
    }

    /// To be called between two units of work.
    ///
    /// # Errors
    /// `Interrupted` when it is to stop.
    pub fn check(&self) -> Result<()> {
        if self.is_asked() {
            return Err(Error::new(ErrorKind::Interrupted, "stopped as asked; the same command resumes"));
        }
        Ok(())
    }
}

impl fmt::Debug for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Halt" } else { "Halt::NEVER" })
    }
}
