//! An open file.

use super::fault::before;
use super::moved::moved;
use super::{Call, uninterrupted};
use std::fs::{OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// An open file that knows its path.
#[derive(Debug)]
pub struct File {
    file: std::fs::File,
    path: PathBuf,
}

impl File {
    /// Opens a file, or a directory that is to be synced, for reading.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> Result<File> {
        Self::opened(path, Call::Open, || std::fs::File::open(path))
    }

    /// Creates a file for writing, or empties the one that is there.
    ///
    /// # Errors
    /// The system's.
    pub fn create(path: &Path) -> Result<File> {
        Self::opened(path, Call::Create, || std::fs::File::create(path))
    }

    /// Opens a file for reading and writing as it is; an empty one where there is none.
    ///
    /// # Errors
    /// The system's.
    pub fn open_or_create(path: &Path) -> Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        Self::opened(path, Call::Create, || options.open(path))
    }

    fn opened(path: &Path, call: Call, open: impl Fn() -> Result<std::fs::File>) -> Result<File> {
        let file = uninterrupted(|| {
            before(call, path)?;
            open()
        })?;
        Ok(File { file, path: path.to_path_buf() })
    }

    /// Its length in bytes.
    ///
    /// # Errors
    /// The system's.
    pub fn length(&self) -> Result<u64> {
        uninterrupted(|| {
            before(Call::Length, &self.path)?;
            Ok(self.file.metadata()?.len())
        })
    }

    /// Cuts it to so many bytes, or fills it up with zeros.
    ///
    /// # Errors
    /// The system's.
    pub fn set_length(&self, bytes: u64) -> Result<()> {
        uninterrupted(|| {
            before(Call::Write, &self.path)?;
            self.file.set_len(bytes)
        })
    }

    /// Makes its content durable; of a directory, the names in it.
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&self) -> Result<()> {
        uninterrupted(|| {
            before(Call::Sync, &self.path)?;
            self.file.sync_all()
        })
    }

    /// Locks it for this process alone.
    ///
    /// # Errors
    /// `WouldBlock` while another process holds it; the system's.
    pub fn try_lock(&self) -> std::result::Result<(), TryLockError> {
        self.locked(std::fs::File::try_lock)
    }

    /// Takes a shared lock.
    ///
    /// # Errors
    /// As [`File::try_lock`].
    pub fn try_lock_shared(&self) -> std::result::Result<(), TryLockError> {
        self.locked(std::fs::File::try_lock_shared)
    }

    fn locked(
        &self,
        lock: impl Fn(&std::fs::File) -> std::result::Result<(), TryLockError>,
    ) -> std::result::Result<(), TryLockError> {
        loop {
            match before(Call::Lock, &self.path).map_err(TryLockError::Error).and_then(|()| lock(&self.file)) {
                Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Fills `bytes` with what lies from the place `at` on, wherever the file is read else.
    ///
    /// # Errors
    /// The system's; `UnexpectedEof` where the file ends before.
    pub fn read_exact_at(&self, mut bytes: &mut [u8], mut at: u64) -> Result<()> {
        use std::os::unix::fs::FileExt;
        while !bytes.is_empty() {
            let n = moved(Call::Read, &self.path, bytes.len(), |most| self.file.read_at(&mut bytes[..most], at))?;
            if n == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            bytes = &mut bytes[n..];
            at += n as u64;
        }
        Ok(())
    }

    /// The system's file, to be mapped.
    ///
    /// # Errors
    /// The system's.
    pub fn to_map(&self) -> Result<&std::fs::File> {
        uninterrupted(|| before(Call::Map, &self.path))?;
        Ok(&self.file)
    }
}

impl Read for &File {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        moved(Call::Read, &self.path, bytes.len(), |most| (&self.file).read(&mut bytes[..most]))
    }
}

impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        (&self.file).seek(to)
    }
}

impl Read for File {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        (&*self).read(bytes)
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        (&*self).seek(to)
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        moved(Call::Write, &self.path, bytes.len(), |most| self.file.write(&bytes[..most]))
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }
}
