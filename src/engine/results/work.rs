//! How far is the making of a snapshot's tables, and is it still wanted? The status of the run gets the progress, and
//! is asked between two units of work whether to stop.

use crate::engine::status::RunStatus;
use crate::error::Result;
use crate::halt::Halt;
use std::sync::Arc;

/// The making of tables. By default it reports to no status, and nothing stops it.
#[derive(Debug, Default)]
pub struct Work {
    status: Option<Arc<RunStatus>>,
    halt: Halt,
}

impl Work {
    /// For the run of this status.
    pub fn of(status: &Arc<RunStatus>) -> Work {
        Work { status: Some(status.clone()), halt: status.halt() }
    }

    /// A part of the work (`"matches"`) is done with so many pairs.
    ///
    /// # Errors
    /// `Interrupted` when it is to stop.
    pub fn at(&self, part: &'static str, done: usize) -> Result<()> {
        if let Some(status) = &self.status {
            status.set_part(part, done);
        }
        self.halt.check()
    }

    /// Whether it is to stop.
    pub fn halt(&self) -> &Halt {
        &self.halt
    }

    /// The rows until it is to stop: to be followed by a [`check`](Halt::check), which tells whether these are all.
    pub fn rows<R>(&self, rows: impl IntoIterator<Item = R>) -> impl Iterator<Item = R> {
        rows.into_iter().take_while(|_| !self.halt.is_asked())
    }
}
