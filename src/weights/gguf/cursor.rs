//! How is a header read? Number by number, never past the end of the file.

use crate::error::{Error, Result};

/// A place in the header; also how arrays are walked.
pub struct HeaderCursor<'a> {
    /// The whole file.
    pub bytes: &'a [u8],
    /// The next byte.
    pub at: usize,
}

impl<'a> HeaderCursor<'a> {
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let left = &self.bytes[self.at..];
        let taken = left.get(..n).ok_or_else(|| {
            Error::input(format!(
                "the header asks for {n} bytes at byte {}, {} are left; it is damaged or cut short",
                self.at,
                left.len()
            ))
        })?;
        self.at += n;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("as many bytes as were taken"))
    }

    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn text(&mut self) -> Result<&'a str> {
        let n = usize::try_from(self.u64()?).unwrap_or(usize::MAX);
        let text = self.take(n)?;
        std::str::from_utf8(text).map_err(|_| Error::input(format!("a text of {n} bytes is not UTF-8; it is damaged")))
    }
}
