//! How much memory does a thing take, here and on its device?

/// Bytes at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// In this machine's memory.
    pub here: u64,
    /// On its device, where that has memory of its own.
    pub device: u64,
}
