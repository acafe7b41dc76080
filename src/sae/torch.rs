//! Which tensors does a torch file hold? `.pt`, `.pth`: a pickled state dict in a zip, or in the container from before 1.6.
//!
//! Nested dicts are flattened to `outer.inner`. Texts and numbers in them (`activation`, `k`) are kept beside the tensors.
//! A tensor's strides are honoured when they are row-major or column-major; the device it was saved from is not looked at.

use super::pickle::{Unpickled, Value, View, unpickle};
use super::tensors::{Dtype, Entry, Place, Tensors, count, length, open};
use super::zip::{Member, members, read_member};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// A state dict's tensors, and what else it says.
#[derive(Debug)]
pub(super) struct StateDict {
    pub tensors: Tensors,
    pub texts: BTreeMap<String, String>,
    pub numbers: BTreeMap<String, f64>,
}

/// The three pickles of a legacy file begin with this one: torch's magic number.
const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// Longest pickle read; that of a state dict has a few kilobytes.
const PICKLE_LIMIT: u64 = 4 << 20;
/// Dicts inside dicts and entries in all; a state dict needs 2 and some dozens.
const DEPTH_LIMIT: usize = 4;
const ENTRY_LIMIT: usize = 10_000;

/// The state dict in the file at `path`.
///
/// # Errors
/// `Input` when the file is neither container, damaged, or holds something else than a dict.
pub(super) fn state_dict(path: &Path) -> Result<StateDict> {
    let mut file = open(path)?;
    let file_bytes = length(&file, path)?;
    let mut head = Vec::new();
    let mut read = |n: u64, head: &mut Vec<u8>| {
        file.seek(SeekFrom::Start(0))
            .and_then(|_| (&mut file).take(n).read_to_end(head))
            .map_err(|e| Error::io("read", path, &e))
    };
    read(LEGACY_MAGIC.len() as u64, &mut head)?;
    if head == LEGACY_MAGIC {
        head.clear();
        read(PICKLE_LIMIT, &mut head)?;
        return legacy(path, file_bytes, &head);
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
    let (value, out) = unpickle(&bytes).map_err(|e| wrong(path, &e))?;
    flatten(path, file_bytes, &value, &out, &|key| members.get(&format!("{prefix}data/{key}")).copied())
}

/// Magic, protocol, system, state dict and a list of storage keys; then each storage: n as i64, elements.
fn legacy(path: &Path, file_bytes: u64, head: &[u8]) -> Result<StateDict> {
    let mut at = 0;
    let mut next = || {
        let (value, out) = unpickle(&head[at..]).map_err(|e| wrong(path, &e))?;
        at += out.bytes;
        Ok::<_, Error>((value, out, at))
    };
    for _ in 0..3 {
        next()?;
    }
    let (value, out, _) = next()?;
    let (Value::List(keys), key_out, mut offset) = next()? else {
        return Err(wrong(path, "has no list of storages"));
    };
    // The byte length of a storage follows from its class, which only the tensors know.
    let mut sizes = BTreeMap::new();
    visit(&value, &out, &mut |_, value| {
        if let Value::Tensor(view) = value {
            sizes.insert(view.storage.key.to_string(), element(&view.storage.class).map(Dtype::size));
        }
    })
    .map_err(|e| wrong(path, e))?;
    let mut places = BTreeMap::new();
    let mut file = open(path)?;
    for key in &key_out.lists[keys] {
        let Value::Text(key) = key else { return Err(wrong(path, "has a storage without a name")) };
        let size = sizes.get(key.as_ref()).copied().flatten();
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
        places.insert(key.to_string(), Member { offset: start + 8, compressed: size, size, deflated: false });
        offset = end as usize;
    }
    flatten(path, file_bytes, &value, &out, &|key| places.get(key).copied())
}

/// Every tensor, text and number below `value`, with dotted names.
fn flatten(
    path: &Path,
    file_bytes: u64,
    value: &Value,
    out: &Unpickled,
    find: &dyn Fn(&str) -> Option<Member>,
) -> Result<StateDict> {
    let (mut entries, mut texts, mut numbers) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut views = Vec::new();
    visit(value, out, &mut |name, value| match value {
        Value::Tensor(view) => views.push((name.to_string(), view.clone())),
        Value::Text(text) => drop(texts.insert(name.to_string(), text.to_string())),
        Value::Int(n) => drop(numbers.insert(name.to_string(), *n as f64)),
        Value::Float(x) => drop(numbers.insert(name.to_string(), *x)),
        _ => {}
    })
    .map_err(|e| wrong(path, e))?;
    for (name, view) in views {
        let entry = entry(&view, find).map_err(|e| Error::input(format!("{}: tensor {name:?} {e}", path.display())))?;
        entries.insert(name, entry);
    }
    Ok(StateDict { tensors: Tensors::checked(path, file_bytes, entries)?, texts, numbers })
}

fn visit(value: &Value, out: &Unpickled, see: &mut dyn FnMut(&str, &Value)) -> Result<(), &'static str> {
    let Value::Dict(top) = value else { return Err("holds something else than a state dict") };
    let mut waiting = vec![(*top, String::new(), 0)];
    let mut n = 0;
    while let Some((dict, prefix, depth)) = waiting.pop() {
        for (key, value) in &out.dicts[dict] {
            n += 1;
            if n > ENTRY_LIMIT || depth > DEPTH_LIMIT {
                return Err("holds dicts of a size or depth that no state dict has");
            }
            let Value::Text(key) = key else { continue };
            let name = format!("{prefix}{key}");
            match value {
                Value::Dict(inner) => waiting.push((*inner, format!("{name}."), depth + 1)),
                value => see(&name, value),
            }
        }
    }
    Ok(())
}

fn entry(view: &View, find: &dyn Fn(&str) -> Option<Member>) -> Result<Entry, String> {
    let member = find(&view.storage.key).ok_or("lies in a storage that the file has not got")?;
    let shape = view.shape.clone();
    let Some(dtype) = element(&view.storage.class) else {
        let place = Place::Plain { offset: member.offset };
        return Ok(Entry {
            dtype: Err("is of an element type that SAE weights do not have"),
            shape,
            column_major: false,
            place,
        });
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
        Place::Deflated { offset: member.offset, compressed: member.compressed, skip }
    } else {
        Place::Plain { offset: member.offset + skip }
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

fn element(class: &str) -> Option<Dtype> {
    Some(match class {
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::Bf16,
        "FloatStorage" => Dtype::F32,
        "DoubleStorage" => Dtype::F64,
        "IntStorage" => Dtype::I32,
        "LongStorage" => Dtype::I64,
        _ => return None,
    })
}

fn wrong(path: &Path, what: &str) -> Error {
    Error::input(format!("{}: {what}; expected a state dict saved with torch.save", path.display()))
}

#[cfg(test)]
pub(super) mod tests;
