//! How does this program touch files? Every open, read, write, sync, rename, removal and look of `src/` comes through here, so that each
//! can be made to fail by a test (`fault`).
//!
//! In: paths and bytes. Out: what `std::fs` gives back, with its errors. Two things are added. A call that a signal
//! interrupted is made again. And a look at what is there ([`exists`], [`is_file`], [`is_dir`]) takes a failed look for
//! "it is there": the open that follows has the error why it cannot be read, and no other file is taken in its place.
//!
//! What is outside: the cache that `hf-hub` fills, the search of `glob`, pages of a mapped file after it was mapped, what a disk has
//! free, and the removal of a temporary file that is given up.

#![allow(clippy::disallowed_methods, reason = "this is where files are touched")]

#[cfg(debug_assertions)]
mod fault;
#[cfg(not(debug_assertions))]
#[path = "no_fault.rs"]
mod fault;
mod file;
mod moved;
mod near;
mod paths;
mod ranges;
mod temp;

pub use file::File;
pub use near::instead_of;
pub use paths::{
    canonicalize, create_dir, create_dir_all, exists, is_dir, is_file, link_metadata, metadata, names_in, of_system,
    read, read_link, read_to_string, remove_dir, remove_dir_all, remove_file, rename, symlink,
};
pub use ranges::Ranges;
pub use std::fs::{Metadata, TryLockError};
pub use temp::Temp;

/// What is asked of the system: the names that a test gives to calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Open,
    Create,
    Read,
    Write,
    Sync,
    Length,
    Map,
    Lock,
    Look,
    List,
    Follow,
    Link,
    Rename,
    Remove,
    Make,
}

/// Makes a call until no signal interrupts it.
fn uninterrupted<T>(mut call: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
