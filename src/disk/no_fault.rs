//! A release makes every call as it was asked for.

use super::Call;
use std::io::Result;
use std::path::Path;

#[inline(always)]
pub(super) fn before(_: Call, _: &Path) -> Result<()> {
    Ok(())
}

#[inline(always)]
pub(super) fn at_most(_: Call, _: &Path, wanted: usize) -> Result<usize> {
    Ok(wanted)
}
