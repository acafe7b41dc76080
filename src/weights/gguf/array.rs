//! What does an array of the metadata hold? It is walked once when the header is read, and read again when asked for:
//! kept as values, an array of bytes would take 32 times its length.

use super::cursor::HeaderCursor;
use crate::error::{Error, Result};

/// An array by its place in the file; its values have been walked once.
#[derive(Clone, Copy, Debug)]
pub struct Array {
    kind: u32,
    n: u64,
    /// First byte of the first value.
    start: usize,
}

const TEXT: u32 = 8;
const ARRAY: u32 = 9;
/// Arrays inside arrays.
const MAX_NESTING: usize = 3;

/// Bytes of a value of a fixed length.
fn size(kind: u32) -> Option<u64> {
    Some(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => return None,
    })
}

impl Array {
    /// Walks the array that begins at `cursor`, with its type and number of values.
    ///
    /// # Errors
    /// `Input` when it reaches past the end, holds a text that is not UTF-8, or arrays too deep inside each other.
    pub fn read(cursor: &mut HeaderCursor) -> Result<Array> {
        let (kind, n) = (cursor.u32()?, cursor.u64()?);
        let array = Array { kind, n, start: cursor.at };
        walk(cursor, kind, n, 0)?;
        Ok(array)
    }

    /// The texts; `None` when it holds anything else.
    pub fn texts<'a>(&self, bytes: &'a [u8]) -> Option<Vec<&'a str>> {
        let mut cursor = HeaderCursor { bytes, at: self.start };
        if self.kind != TEXT {
            return None;
        }
        (0..self.n).map(|_| cursor.text().ok()).collect()
    }

    /// The whole numbers; `None` when it holds anything else.
    pub fn wholes(&self, bytes: &[u8]) -> Option<Vec<i64>> {
        let mut cursor = HeaderCursor { bytes, at: self.start };
        let kind = self.kind;
        let mut next = || {
            Some(match kind {
                0 => cursor.array::<1>().ok()?[0].into(),
                1 => i8::from_le_bytes(cursor.array().ok()?).into(),
                2 => u16::from_le_bytes(cursor.array().ok()?).into(),
                3 => i16::from_le_bytes(cursor.array().ok()?).into(),
                4 => cursor.u32().ok()?.into(),
                5 => i32::from_le_bytes(cursor.array().ok()?).into(),
                10 => i64::try_from(cursor.u64().ok()?).ok()?,
                11 => i64::from_le_bytes(cursor.array().ok()?),
                _ => return None,
            })
        };
        (0..self.n).map(|_| next()).collect()
    }

    /// The numbers, whole or not; `None` when it holds anything else.
    pub fn numbers(&self, bytes: &[u8]) -> Option<Vec<f64>> {
        let mut cursor = HeaderCursor { bytes, at: self.start };
        match self.kind {
            6 => (0..self.n).map(|_| Some(f64::from(f32::from_le_bytes(cursor.array().ok()?)))).collect(),
            12 => (0..self.n).map(|_| Some(f64::from_le_bytes(cursor.array().ok()?))).collect(),
            _ => Some(self.wholes(bytes)?.into_iter().map(|n| n as f64).collect()),
        }
    }
}

fn walk(cursor: &mut HeaderCursor, kind: u32, n: u64, depth: usize) -> Result<()> {
    if let Some(size) = size(kind) {
        let n_bytes = n.checked_mul(size).and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        return cursor.take(n_bytes).map(drop);
    }
    for _ in 0..n {
        match kind {
            TEXT => drop(cursor.text()?),
            ARRAY if depth + 1 < MAX_NESTING => {
                let (kind, n) = (cursor.u32()?, cursor.u64()?);
                walk(cursor, kind, n, depth + 1)?;
            }
            other => return Err(Error::input(format!("value type {other} is not known in an array; it is damaged"))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_read_by_their_type_and_nothing_else() {
        let array = |kind: u32, n: u64, values: &[u8]| {
            let bytes = [&kind.to_le_bytes()[..], &n.to_le_bytes(), values].concat();
            Array::read(&mut HeaderCursor { bytes: &bytes, at: 0 }).map(|array| (array, bytes))
        };
        let (bytes, file) = array(0, 3, &[1, 2, 255]).unwrap();
        assert_eq!((bytes.wholes(&file), bytes.texts(&file)), (Some(vec![1, 2, 255]), None));
        assert_eq!(bytes.numbers(&file), Some(vec![1.0, 2.0, 255.0]));
        let (signed, file) = array(5, 1, &(-7_i32).to_le_bytes()).unwrap();
        assert_eq!(signed.wholes(&file), Some(vec![-7]));
        let (reals, file) = array(6, 1, &0.5_f32.to_le_bytes()).unwrap();
        assert_eq!((reals.numbers(&file), reals.wholes(&file)), (Some(vec![0.5]), None));
        let (texts, file) = array(8, 2, b"\x01\0\0\0\0\0\0\0a\x02\0\0\0\0\0\0\0bc").unwrap();
        assert_eq!(texts.texts(&file), Some(vec!["a", "bc"]));
        let (none, file) = array(8, 0, b"").unwrap();
        assert_eq!(none.texts(&file), Some(vec![]));
        // past the end, an unknown type, a count that no file has
        for (kind, n, values) in
            [(0, 4, &[1, 2, 3][..]), (13, 1, &[0; 8]), (10, u64::MAX, &[0; 8]), (8, u64::MAX, &[0; 8])]
        {
            assert!(array(kind, n, values).is_err(), "{kind} {n}");
        }
    }
}
