//! Which tensors does a torch file hold? `.pt`, `.pth`: a pickled state dict in a zip, or in the container from before 1.6.
//!
//! Nested dicts are flattened to `outer.inner`. Texts and numbers in them (`activation`, `k`) are kept with the tensors;
//! what wrappers put into names (`names.rs`) is left out. A tensor's strides are honoured when they are row-major or column-major; the device it was saved from is not looked at.

use super::budget::Budget;
use super::convert::StoredDtype;
use super::file::{length, open};
use super::names::{Plain, plain};
use super::pickle::{PickleValue, StorageView, Unpickled, unpickle};
use super::tensors::{Entry, Extent, Tensors, count};
use super::zip::{Member, members, read_member};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// A state dict's tensors, texts and numbers.
#[derive(Debug)]
pub struct StateDict {
    /// The tensors.
    pub tensors: Tensors,
    /// Texts by their dotted names.
    pub texts: BTreeMap<String, String>,
    /// Numbers by their dotted names.
    pub numbers: BTreeMap<String, f64>,
}

/// The three pickles of a legacy file begin with this one: torch's magic number.
const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// Longest pickle read; the pickle of a state dict has a few kilobytes.
const PICKLE_LIMIT: u64 = 4 << 20;
/// Dicts inside dicts and entries in all; a state dict needs 2 and some thousands.
const DEPTH_LIMIT: usize = 4;
const ENTRY_LIMIT: usize = 100_000;
/// What a tensor, text or number takes in addition to its name: its entry in a tree whose nodes are half full, its shape.
const ENTRY: usize = 512;

/// The state dict in the file at `path`.
///
/// # Errors
/// `Input` when the file is neither container, damaged, or holds something else than a dict.
pub fn state_dict(path: &Path) -> Result<StateDict> {
    let mut file = open(path)?;
    let file_bytes = length(&file, path)?;
    let budget = &mut Budget::of_file(file_bytes);
    let mut head = Vec::new();
    let mut read = |n: u64, head: &mut Vec<u8>| {
        file.seek(SeekFrom::Start(0))
            .and_then(|_| (&mut file).take(n).read_to_end(head))
            .map_err(|e| Error::io("read", path, &e))
    };
    read(LEGACY_MAGIC.len() as u64, &mut head)?;
    if head == LEGACY_MAGIC {
        head = Vec::with_capacity(file_bytes.min(PICKLE_LIMIT) as usize);
        read(PICKLE_LIMIT, &mut head)?;
        return legacy(path, file_bytes, &head, budget);
    }
    if !head.starts_with(b"PK") {
        return Err(wrong(path, "is neither of torch's containers"));
    }
    let members = members(path)?;
    let (name, &pickle) = members
        .iter()
        .find(|(name, _)| name.ends_with("/data.pkl") || *name == "data.pkl")
        .ok_or_else(|| wrong(path, "is a zip archive without data.pkl"))?;
    let prefix = name.trim_end_matches("data.pkl");
    if let Some(&order) = members.get(&format!("{prefix}byteorder"))
        && read_member(path, order, 64)?.starts_with(b"big")
    {
        return Err(wrong(path, "was saved on a big-endian machine, which is not read"));
    }
    let bytes = read_member(path, pickle, PICKLE_LIMIT)?;
    let (value, out) = unpickle(&bytes, budget).map_err(|e| wrong(path, &e))?;
    flatten(path, file_bytes, &value, &out, budget, &|key| members.get(&format!("{prefix}data/{key}")).copied())
}

/// Magic, protocol, system, state dict and a list of storage keys; then each storage: n as i64, elements.
fn legacy(path: &Path, file_bytes: u64, head: &[u8], budget: &mut Budget) -> Result<StateDict> {
    let mut at = 0;
    let mut next = |budget: &mut Budget| {
        let (value, out) = unpickle(&head[at..], budget).map_err(|e| wrong(path, &e))?;
        at += out.bytes;
        Ok::<_, Error>((value, out, at))
    };
    for _ in 0..3 {
        next(budget)?;
    }
    let (value, out, _) = next(budget)?;
    let (PickleValue::List(keys), key_out, mut offset) = next(budget)? else {
        return Err(wrong(path, "has no list of storages"));
    };
    // The byte length of a storage follows from its class, which only the tensors know.
    let mut sizes: BTreeMap<&str, Option<usize>> = BTreeMap::new();
    visit(&value, &out, budget, &mut |_, value| {
        if let PickleValue::Tensor(view) = value {
            sizes.insert(view.storage.key, element(view.storage.class).ok().map(StoredDtype::size));
        }
    })
    .map_err(|e| wrong(path, e))?;
    let mut places: BTreeMap<&str, Member> = BTreeMap::new();
    let mut file = open(path)?;
    for key in &key_out.lists[keys] {
        let PickleValue::Text(key) = *key else { return Err(wrong(path, "has a storage without a name")) };
        let size = sizes.get(key).copied().flatten();
        let size = size.ok_or_else(|| wrong(path, "has storages of an element type that is not read"))? as u64;
        let mut n = [0; 8];
        let start = offset as u64;
        file.seek(SeekFrom::Start(start))
            .and_then(|_| file.read_exact(&mut n))
            .map_err(|_| wrong(path, "is cut short"))?;
        let bytes = u64::from_le_bytes(n).checked_mul(size);
        let end = bytes.and_then(|bytes| bytes.checked_add(start + 8)).filter(|&end| end <= file_bytes);
        let end = end.ok_or_else(|| wrong(path, "is cut short"))?;
        let size = end - start - 8;
        places.insert(key, Member { offset: start + 8, compressed: size, size, deflated: false });
        offset = end as usize;
    }
    flatten(path, file_bytes, &value, &out, budget, &|key| places.get(key).copied())
}

/// Every tensor, text and number below `value`, with dotted names.
fn flatten(
    path: &Path,
    file_bytes: u64,
    value: &PickleValue,
    out: &Unpickled,
    budget: &mut Budget,
    find: &dyn Fn(&str) -> Option<Member>,
) -> Result<StateDict> {
    let (mut views, mut texts, mut numbers) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    visit(value, out, budget, &mut |name, value| match value {
        PickleValue::Tensor(view) => views.push((name, view.clone())),
        PickleValue::Text(text) => drop(texts.insert(plain(&name).into_owned(), (*text).to_string())),
        PickleValue::Int(n) => drop(numbers.insert(plain(&name).into_owned(), *n as f64)),
        PickleValue::Float(x) => drop(numbers.insert(plain(&name).into_owned(), *x)),
        _ => {}
    })
    .map_err(|e| wrong(path, e))?;
    let mut entries = Plain::default();
    for (name, view) in views {
        let entry = entry(&view, find).map_err(|e| Error::input(format!("{}: tensor {name:?} {e}", path.display())))?;
        entries.add(path, name, entry)?;
    }
    Ok(StateDict { tensors: Tensors::checked(path, file_bytes, entries.into_map())?, texts, numbers })
}

fn visit<'a>(
    value: &PickleValue<'a>,
    out: &Unpickled<'a>,
    budget: &mut Budget,
    see: &mut dyn FnMut(String, &PickleValue<'a>),
) -> Result<(), &'static str> {
    let PickleValue::Dict(top) = value else { return Err("holds something else than a state dict") };
    let mut waiting = vec![(*top, String::new(), 0)];
    let mut n = 0;
    while let Some((dict, prefix, depth)) = waiting.pop() {
        for (key, value) in &out.dicts[dict] {
            n += 1;
            if n > ENTRY_LIMIT || depth > DEPTH_LIMIT {
                return Err("holds dicts of a size or depth that no state dict has");
            }
            let PickleValue::Text(key) = key else { continue };
            let of_value = match value {
                PickleValue::Text(text) => text.len(),
                PickleValue::Tensor(view) => 2 * size_of_val(view.shape.as_slice()),
                _ => 0,
            };
            // a name is held twice: as written and without what wrappers put into it
            budget.spend(ENTRY + 2 * (prefix.len() + key.len()) + of_value)?;
            let name = format!("{prefix}{key}");
            match value {
                PickleValue::Dict(inner) => waiting.push((*inner, format!("{name}."), depth + 1)),
                value => see(name, value),
            }
        }
    }
    Ok(())
}

fn entry(view: &StorageView, find: &dyn Fn(&str) -> Option<Member>) -> Result<Entry, String> {
    let member = find(view.storage.key).ok_or("is in a storage that the file lacks")?;
    let shape = view.shape.clone();
    let dtype = match element(view.storage.class) {
        Ok(dtype) => dtype,
        Err(why) => {
            let place = Extent::Plain { offset: member.offset };
            return Ok(Entry { dtype: Err(why), shape, column_major: false, place });
        }
    };
    let size = dtype.size() as u64;
    let n = count(&shape).ok_or("is too large")? as u64;
    let end = view.offset.checked_add(n).and_then(|end| end.checked_mul(size));
    if end.is_none_or(|end| end > member.size) || view.storage.n.checked_mul(size) != Some(member.size) {
        return Err(format!(
            "of shape {shape:?} does not fit its storage of {} bytes; fetch the file again",
            member.size
        ));
    }
    let (rows_first, cols_first) = (strides(shape.iter().rev()), strides(shape.iter()));
    // A side of 1 may have any stride.
    let same = |expected: &[usize]| shape.iter().zip(&view.strides).zip(expected).all(|((&n, a), b)| n <= 1 || a == b);
    let row_major = same(&rows_first.into_iter().rev().collect::<Vec<_>>());
    let readable = row_major || same(&cols_first);
    let skip = view.offset * size;
    let place = if member.deflated {
        Extent::Deflated { offset: member.offset, compressed: member.compressed, skip }
    } else {
        Extent::Plain { offset: member.offset + skip }
    };
    let dtype = readable.then_some(dtype).ok_or("is a view with gaps; save it again with .contiguous()");
    Ok(Entry { dtype, shape, column_major: !row_major, place })
}

/// Strides when the first of `sides` runs fastest.
fn strides<'a>(sides: impl Iterator<Item = &'a usize>) -> Vec<usize> {
    let mut stride = 1usize;
    sides
        .map(|&side| {
            let this = stride;
            stride = stride.saturating_mul(side);
            this
        })
        .collect()
}

/// The element type of a storage's class, or why it is none that is read.
fn element(class: &str) -> Result<StoredDtype, &'static str> {
    Ok(match class {
        "HalfStorage" => StoredDtype::F16,
        "BFloat16Storage" => StoredDtype::Bf16,
        "FloatStorage" => StoredDtype::F32,
        "DoubleStorage" => StoredDtype::F64,
        "IntStorage" => StoredDtype::I32,
        "LongStorage" => StoredDtype::I64,
        "BoolStorage" => return Err("holds true and false, no numbers"),
        "ByteStorage" | "CharStorage" | "QUInt8Storage" | "QInt8Storage" => return Err("holds bytes (uint8 or int8)"),
        _ => return Err("is of an element type that is not read"),
    })
}

fn wrong(path: &Path, what: &str) -> Error {
    Error::input(format!("{}: {what}; expected a state dict saved with torch.save", path.display()))
}

#[cfg(test)]
pub(crate) mod tests;
