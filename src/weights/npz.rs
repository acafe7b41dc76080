//! Which arrays does a numpy archive hold? `.npz`: a zip of `.npy` files, stored or deflated.
//!
//! A `.npy` file begins with a magic number, a version and a Python literal of `descr`, `fortran_order` and `shape`
//! (numpy.lib.format). The three keys are searched for in the text of the literal; no Python is evaluated.

use super::budget::Budget;
use super::convert::StoredDtype;
use super::file::{length, open};
use super::tensors::{Entry, Extent, Tensors, count};
use super::zip::{Member, members, read_member};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes in which the header of a `.npy` file must end.
const HEAD: u64 = 4096;
/// What an array's entry takes in addition to its name and its shape.
const ENTRY: usize = 256;

/// The arrays of the archive at `path`, named without `.npy`.
///
/// # Errors
/// `Input` when the archive or a header in it is damaged.
pub fn tensors(path: &Path) -> Result<Tensors> {
    let file_bytes = length(&open(path)?, path)?;
    let mut budget = Budget::of_file(file_bytes);
    let mut entries = BTreeMap::new();
    for (name, member) in members(path)? {
        if let Some(name) = name.strip_suffix(".npy") {
            let entry = entry(path, name, member)?;
            let taken = ENTRY + name.len() + 2 * size_of_val(entry.shape.as_slice());
            budget.spend(taken).map_err(|e| Error::input(format!("{}: {e}; fetch the file again", path.display())))?;
            entries.insert(name.to_string(), entry);
        }
    }
    Tensors::checked(path, file_bytes, entries)
}

fn entry(path: &Path, name: &str, member: Member) -> Result<Entry> {
    let damaged =
        |what: &str| Error::input(format!("{}: array {name:?}: {what}; fetch the file again", path.display()));
    let first = Member { size: member.size.min(HEAD), ..member };
    let head = read_member(path, first, HEAD)?;
    let (length, start) = match head.get(..10) {
        Some([0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, a, b]) => (u32::from(u16::from_le_bytes([*a, *b])), 10),
        Some([0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _, a, b]) if head.len() >= 12 => {
            (u32::from_le_bytes([*a, *b, head[10], head[11]]), 12)
        }
        _ => return Err(damaged("is no .npy file")),
    };
    let skip = start as u64 + u64::from(length);
    let text = head.get(start..skip as usize).and_then(|text| std::str::from_utf8(text).ok());
    let text = text.ok_or_else(|| damaged("its header is longer than any of a plain array"))?;
    let shape = shape(text).ok_or_else(|| damaged("its header has no shape"))?;
    let dtype = match quoted(text, "descr") {
        Some("<f2") => Ok(StoredDtype::F16),
        Some("<f4") => Ok(StoredDtype::F32),
        Some("<f8") => Ok(StoredDtype::F64),
        Some("<i4") => Ok(StoredDtype::I32),
        Some("<i8") => Ok(StoredDtype::I64),
        _ => Err("is of an element type that is not read"),
    };
    if let Ok(dtype) = dtype {
        let size = count(&shape).and_then(|n| n.checked_mul(dtype.size())).map(|n| n as u64);
        if size.and_then(|size| size.checked_add(skip)) != Some(member.size) {
            return Err(damaged(&format!("shape {shape:?} does not fit its {} bytes", member.size)));
        }
    }
    let place = if member.deflated {
        Extent::Deflated { offset: member.offset, compressed: member.compressed, skip }
    } else {
        Extent::Plain { offset: member.offset + skip }
    };
    let order = after(text, "fortran_order").map_err(|e| e.within(format!("{}: array {name:?}", path.display())))?;
    Ok(Entry { dtype, shape, column_major: order.starts_with("True"), place })
}

/// The value after `'key':`.
fn after<'a>(text: &'a str, key: &str) -> Result<&'a str> {
    text.split_once(&format!("'{key}':"))
        .map(|(_, rest)| rest.trim_start())
        .ok_or_else(|| Error::input(format!("a .npy header has no {key:?}; fetch the file again")))
}

fn quoted<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    after(text, key).ok()?.strip_prefix('\'')?.split_once('\'').map(|(value, _)| value)
}

fn shape(text: &str) -> Option<Vec<usize>> {
    let (sides, _) = after(text, "shape").ok()?.strip_prefix('(')?.split_once(')')?;
    sides.split(',').map(str::trim).filter(|side| !side.is_empty()).map(|side| side.parse().ok()).collect()
}
