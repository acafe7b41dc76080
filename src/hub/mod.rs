//! Where on this machine are weights that are named by their repository, `hf:owner/name[@revision][/inside]`?
//!
//! The Hugging Face cache is looked at first, in the layout that `huggingface_hub` keeps (`refs`, `snapshots`, `blobs`);
//! what it lacks is downloaded, file by file and only what is needed, unless the environment asks to stay offline. What is
//! handed on is a path like any other: a folder of the snapshot, or a file in it. Nothing is known here of what is inside
//! the files.
//!
//! The environment decides as for Python: `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME` where the
//! cache is; `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE` whether it is all there is; `HF_TOKEN`, or the token file that a login
//! leaves, the access token; `HF_ENDPOINT` the address.

mod cache;
#[cfg(feature = "download")]
mod download;
mod pointer;
mod reference;
pub mod registry;
mod split;
#[cfg(test)]
mod tests;
mod want;

pub use cache::{CHECKPOINTS, Hub};
pub use pointer::{POINTER_BYTES, refuse_pointer};
pub use reference::Reference;
pub use split::split_names;
pub use want::{DownloadStep, Tell, Want};

use crate::error::Result;
use std::path::PathBuf;

/// Where `path` is on this machine; a path that is no reference is handed back as it is. Nothing is downloaded.
///
/// # Errors
/// `Request` for a malformed reference, and for one that the cache does not hold whole: the missing file is named.
pub fn local(path: &str, want: Want) -> Result<PathBuf> {
    let Some(reference) = Reference::parse(path)? else { return Ok(PathBuf::from(path)) };
    let hub = Hub::from_env();
    hub.find(&reference, want).map_err(|missing| hub.not_here(&reference, want, &missing))
}

/// The same, after downloading what the cache lacks.
///
/// # Errors
/// `Request` for a malformed reference, for what the repository does not hold or hold open, and for what the cache lacks
/// when the environment asks to stay offline; `Machine` when the network or the disk fails.
pub fn fetch(path: &str, want: Want, tell: Tell) -> Result<PathBuf> {
    let Some(reference) = Reference::parse(path)? else { return Ok(PathBuf::from(path)) };
    Hub::from_env().fetch(&reference, want, tell)
}
