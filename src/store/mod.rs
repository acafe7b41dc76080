//! What survives a crash? The run directory, its manifest and its state; the only writer of files in it.
//!
//! A checkpoint at batch *b* is a **generation**: state files `state/<b>/NAME.safetensors`, each written under another name, synced
//! and renamed, then named with size and digest in `manifest.json`. The rename of the manifest is the commit. The two
//! newest generations are kept: damage to the newest costs a stretch of the corpus, not the run.
//!
//! Tables and report are not part of a checkpoint. All tables of a snapshot are published as one set (`set`). After a crash they
//! may be newer than the manifest; they are published again when the resumed run reaches that snapshot.
//!
//! ```text
//! open_or_create ── inspect ── decide ─┬─ Fresh  ─ carry_out ─ start at batch 0
//!                   (facts)    (pure)  ├─ Resume ─ carry_out ─ restore tiles, seek, resume
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
mod record;
mod recover;
mod seal;
mod set;
mod writer;

pub use digest::{FileRecord, digest_of, digest_of_text};
pub use fs::{AtomicFile, bytes_under, create_dir_all, free_bytes, write_atomic, write_error};
pub use layout::RunDir;
pub use lock::{Holder, Lock};
pub use manifest::{Environment, MANIFEST_FORMAT, Manifest};
pub use reader::StateReader;
pub use record::{Ended, MergedRun, RequestRecord, SecondPass, SnapshotDue, SumsOrigin};
pub use recover::{Damage, Decision, Found, FoundManifest, Wanted, decide, differing_names, differing_parts, inspect};
pub use set::{FoundTables, NewSet, SET_FORMAT, SetRecord, TableSet, check_in_set, read_tables};
pub use writer::{Element, StateFile, StateLayout, StateWriter};

#[cfg(test)]
mod testing;
