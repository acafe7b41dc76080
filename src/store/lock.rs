//! Who is writing here? One run at a time: an advisory lock on a file that names its holder, for the message to a second run.
//!
//! The operating system releases the lock when the holder ends for any reason: a killed run need not be unlocked by hand. On a
//! network file system without locks, the lock protects only against runs on the same host.

use crate::disk::{File, TryLockError, of_system};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Number of tries, and the time between them. A process that only reads the holder has the lock for an instant.
const TRIES: usize = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// The process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id on its host.
    pub pid: u32,
    /// Name of the host, `unknown` when it has none.
    pub host: String,
    /// When it took the lock, in seconds since 1970 (UTC). It names the holder and enters no result.
    pub started_unix: u64,
}

/// A held lock; let go when dropped or when the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock at `path`; the error names its holder.
    ///
    /// # Errors
    /// `Machine` naming the holder, or when the file cannot be written.
    pub fn take(path: &Path) -> Result<Lock> {
        let fail = |e: std::io::Error| super::fs::write_error(path, None, &e);
        // Never truncated before the lock is ours: it names the holder.
        let mut file = File::open_or_create(path).map_err(fail)?;
        let mut left = TRIES;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if left > 1 => std::thread::sleep(BETWEEN_TRIES),
                Err(TryLockError::WouldBlock) => return Err(held_by_another(path, &mut file)),
                Err(TryLockError::Error(e)) => return Err(fail(e)),
            }
            left -= 1;
        }
        let text = serde_json::to_string(&Holder::this_process()).expect("a plain struct is JSON");
        file.set_length(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes())).map_err(fail)?;
        Ok(Lock { _file: file })
    }
}

/// The last holder of the lock at `path`, and whether it is held now; `None` where there is no lock or no holder in it. Nothing is
/// written; the lock is shared for an instant to see whether it is free.
///
/// # Errors
/// `Machine` where it is there and cannot be read just now.
pub(super) fn look(path: &Path) -> Result<Option<(Holder, bool)>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(Error::io("cannot look at the lock", path, &e)),
    };
    let held = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    let holder = holder_in(&mut file).map_err(|e| Error::io("cannot look at the lock", path, &e))?;
    Ok(holder.map(|holder| (holder, held)))
}

impl Holder {
    fn this_process() -> Holder {
        let host = of_system("/proc/sys/kernel/hostname")
            .ok()
            .or_else(|| std::env::var("HOSTNAME").ok())
            .map(|h| h.trim().to_string())
            .filter(|h| !h.is_empty())
            .unwrap_or_else(|| "unknown".to_string());
        Holder { pid: std::process::id(), host, started_unix: now_unix() }
    }
}

#[allow(clippy::disallowed_methods, reason = "the lock records since when it is held")]
fn now_unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

fn held_by_another(path: &Path, file: &mut File) -> Error {
    let who = match holder_in(file) {
        Ok(Some(h)) => format!("process {} on {} (for {} s)", h.pid, h.host, now_unix().saturating_sub(h.started_unix)),
        _ => "another process".to_string(),
    };
    let dir = path.parent().unwrap_or(path);
    Error::machine(format!(
        "run directory {} is in use by {who}; wait for it, stop it, or choose another --out",
        dir.display()
    ))
}

fn holder_in(file: &mut File) -> std::io::Result<Option<Holder>> {
    let mut text = Vec::new();
    file.take(4096).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it_and_a_dropped_lock_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::take(&path).unwrap();
        let refused = Lock::take(&path).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        assert!(look(&path).unwrap().is_some_and(|(who, held)| held && who.pid == std::process::id()));
        drop(held);
        assert!(look(&path).unwrap().is_some_and(|(who, held)| !held && who.pid == std::process::id()));
        assert!(look(&dir.path().join("none")).unwrap().is_none());
        Lock::take(&path).unwrap();
    }
}
