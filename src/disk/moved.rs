//! A call that moves bytes.

use super::fault::at_most;
use super::{Call, uninterrupted};
use std::io::Result;
use std::path::Path;

/// Moves as many of the `wanted` bytes as a call may: `go` takes how many, and returns how many it moved.
pub(super) fn moved(
    call: Call,
    path: &Path,
    wanted: usize,
    mut go: impl FnMut(usize) -> Result<usize>,
) -> Result<usize> {
    uninterrupted(|| go(at_most(call, path, wanted)?))
}
