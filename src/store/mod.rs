//! What survives a crash? The run directory, its manifest and its state; the only writer of files in it.
//!
//! A checkpoint at batch *b* is a **generation**: state files `state/<b>/NAME.safetensors`, each written beside, synced
//! and renamed, then named with size and digest in `manifest.json`. The rename of the manifest is the commit. The two
//! newest generations are kept, so that damage to the newest costs a stretch of corpus and not the run.
//!
//! Tables, history and report are no part of a checkpoint: each is replaced whole when it is published, may be newer than
//! the manifest after a crash, and is published again when the run comes by.
//!
//! ```text
//! open_or_create ── inspect ── decide ─┬─ Fresh  ─ settle ─ go on from batch 0
//!                   (facts)    (pure)  ├─ Resume ─ settle ─ restore tiles, seek, go on
//!                                      └─ Refuse ─ the error names what differs
//!                 (recover: the three in one)
//! every checkpoint:  write_state … finish (one file per tile) ── commit(manifest)
//! ```

mod commit;
mod digest;
mod fs;
mod layout;
mod lock;
mod manifest;
mod reader;
mod recover;
mod writer;

pub use digest::{FileRecord, digest_of};
pub use fs::{AtomicFile, create_dir_all, write_atomic, write_error};
pub use layout::RunDir;
pub use lock::{Holder, Lock};
pub use manifest::{Environment, MANIFEST_FORMAT, Manifest};
pub use reader::StateReader;
pub use recover::{Damage, Decision, Found, FoundManifest, Wanted, decide, differing_parts, inspect};
pub use writer::{Element, StateFile, StateLayout, StateWriter};

#[cfg(test)]
mod testing;
