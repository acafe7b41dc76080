//! What is a state file of a worker's memory called, and who writes it?

/// A state file of what a worker holds.
pub(super) struct FileOf {
    /// Its name, after what it holds, not after the worker.
    pub name: String,
    /// What kind of thing it holds.
    pub kind: &'static str,
    /// Whether this worker writes it.
    pub mine: bool,
}
