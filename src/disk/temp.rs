//! A file under a temporary name, until it is complete.

use super::fault::before;
use super::moved::moved;
use super::{Call, uninterrupted};
use std::io::{Result, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A file under a temporary name, in the folder of its final one. Dropped before it is renamed, it leaves nothing
/// behind.
#[derive(Debug)]
pub struct Temp {
    file: NamedTempFile,
    path: PathBuf,
}

impl Temp {
    /// Creates it in `folder`; its name begins and ends as given, and `path` is the name that it is to have. Others may read what it holds,
    /// as far as the umask lets them.
    ///
    /// # Errors
    /// The system's.
    pub fn create(folder: &Path, prefix: &str, suffix: &str, path: &Path) -> Result<Temp> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(prefix).suffix(suffix);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // The umask decides, as for any other file: results are there to be shared.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = uninterrupted(|| {
            before(Call::Create, path)?;
            builder.tempfile_in(folder).map_err(plain)
        })?;
        Ok(Temp { file, path: path.to_path_buf() })
    }

    /// Makes its content durable.
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&self) -> Result<()> {
        uninterrupted(|| {
            before(Call::Sync, &self.path)?;
            self.file.as_file().sync_all()
        })
    }

    /// Gives it its name, in the place of whatever had it.
    ///
    /// # Errors
    /// The system's; then it is gone, and what had the name is there.
    pub fn persist(self) -> Result<()> {
        uninterrupted(|| before(Call::Rename, &self.path))?;
        self.file.persist(&self.path).map(drop).map_err(|e| e.error)
    }
}

/// The system's error, without the temporary name that the library tells beside it.
fn plain(e: std::io::Error) -> std::io::Error {
    let inner = e.get_ref().and_then(|told| told.source()?.downcast_ref::<std::io::Error>()?.raw_os_error());
    inner.map_or(e, std::io::Error::from_raw_os_error)
}

impl Write for Temp {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        moved(Call::Write, &self.path, bytes.len(), |most| self.file.write(&bytes[..most]))
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }
}
