//! A file as the parquet crate reads it: by ranges.

use super::File;
use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

/// An open file whose length was looked at when it was opened: the crate's own takes one that cannot be looked at for empty.
#[derive(Debug)]
pub struct Ranges {
    file: Arc<File>,
    length: u64,
}

/// The file from a place on.
pub struct Rest {
    file: Arc<File>,
    at: u64,
}

impl Ranges {
    /// Opens a file.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> std::io::Result<Ranges> {
        let file = File::open(path)?;
        let length = file.length()?;
        Ok(Ranges { file: Arc::new(file), length })
    }
}

impl Read for Rest {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(self.at))?;
        let n = file.read(bytes)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Length for Ranges {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Ranges {
    type T = BufReader<Rest>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(BufReader::new(Rest { file: self.file.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let short = |found: u64| ParquetError::EOF(format!("expected {length} bytes from {start} on, found {found}"));
        // a damaged length takes no memory
        let left = self.length.saturating_sub(start);
        if left < length as u64 {
            return Err(short(left));
        }
        let mut bytes = Vec::with_capacity(length);
        Rest { file: self.file.clone(), at: start }.take(length as u64).read_to_end(&mut bytes)?;
        match bytes.len() == length {
            true => Ok(bytes.into()),
            false => Err(short(bytes.len() as u64)),
        }
    }
}
