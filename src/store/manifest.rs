//! What is committed? One JSON file that names every live file with its digest; all else in the directory is disposable.
//!
//! The file is sealed (`seal`): damage is noticed before any of its numbers is believed.

use super::digest::FileRecord;
use super::record::{Ended, MergedRun, RequestRecord, SecondPass, SnapshotDue, SumsOrigin};
use super::seal::{format_of, looks_sealed, sealed, unsealed};
use crate::disk;
use crate::error::{Error, Result};
use crate::ids::BatchIndex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Component, Path};

/// Number of the manifest's and the state directory's format; raised whenever their bytes or meaning change.
pub const MANIFEST_FORMAT: u32 = 3;

/// The formats this version can resume from.
const READABLE: std::ops::RangeInclusive<u32> = 2..=MANIFEST_FORMAT;

/// Formats that are no longer read, and the versions that do.
const READ_BY: [(u64, &str); 1] = [(1, "builds of cognate from before the release of 0.1.0")];

/// Longest manifest read, in bytes: a few hundred thousand tiles. Guards against a hostile or confused file.
const MAX_BYTES: u64 = 256 << 20;

/// A committed checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`] of the writer.
    pub format: u32,
    /// Digest, in hex, of all that changes numbers.
    pub fingerprint: String,
    /// Parts of the fingerprint: name to digest or value. A refusal names the parts that differ.
    pub parts: BTreeMap<String, String>,
    /// The first batch that is not in the sums.
    pub next_batch: BatchIndex,
    /// Rows in the sums (tokens; segments where two tokenizers are aligned).
    pub rows: u64,
    /// Snapshots published so far.
    pub snapshot: u32,
    /// How the run ended.
    pub ended: Ended,
    /// The snapshot that comes before anything else when the run is resumed; left out where there is none, as in format 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<SnapshotDue>,
    /// Where the sums come from.
    pub origin: SumsOrigin,
    /// What the run was asked for.
    pub asked: RequestRecord,
    /// What computed it.
    pub environment: Environment,
    /// Every live state file: path relative to the run directory, with `/`.
    pub files: BTreeMap<String, FileRecord>,
}

/// What computed a stretch of a run: where it differs, bits may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Version of this program.
    pub version: String,
    /// Processor architecture.
    pub arch: String,
    /// Vector features of the processor that choose among kernels.
    pub cpu_features: Vec<String>,
}

impl Environment {
    /// This program on this machine.
    pub fn here() -> Self {
        #[allow(unused_mut)]
        let mut features: Vec<String> = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let found = [
                ("avx2", std::arch::is_x86_feature_detected!("avx2")),
                ("fma", std::arch::is_x86_feature_detected!("fma")),
                ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
                ("f16c", std::arch::is_x86_feature_detected!("f16c")),
            ];
            features.extend(found.iter().filter(|(_, has)| *has).map(|(name, _)| name.to_string()));
        }
        Environment {
            version: env!("CARGO_PKG_VERSION").to_string(),
            arch: std::env::consts::ARCH.to_string(),
            cpu_features: features,
        }
    }
}

/// A manifest file as it was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Parsed {
    Whole(Box<Manifest>),
    /// Whole, but of a format outside the readable range.
    OtherFormat(u64),
    /// Not a manifest any more; the reason.
    Damaged(String),
}

impl Manifest {
    /// The manifest of an empty run: nothing seen, no files.
    pub fn new(fingerprint: String, parts: BTreeMap<String, String>) -> Self {
        Manifest {
            format: MANIFEST_FORMAT,
            fingerprint,
            parts,
            next_batch: 0,
            rows: 0,
            snapshot: 0,
            ended: Ended::No,
            due: None,
            origin: SumsOrigin::default(),
            asked: RequestRecord::default(),
            environment: Environment::here(),
            files: BTreeMap::new(),
        }
    }

    /// Whether the run has nothing more to read.
    pub fn is_finished(&self) -> bool {
        self.ended != Ended::No
    }

    /// Whether everything is in the sums, and only the tables of the end are to be made.
    pub fn is_all_read(&self) -> bool {
        self.due.is_some_and(|due| due.ended != Ended::No)
    }

    /// Position in the corpus, in the corpus' own words; `None` for a merge.
    pub fn cursor(&self) -> Option<&Value> {
        match &self.origin {
            SumsOrigin::Streamed { cursor, .. } => Some(cursor),
            SumsOrigin::Merged(_) => None,
        }
    }

    /// The second pass over the corpus, where the checkpoint is in it or after it.
    pub fn second_pass(&self) -> Option<SecondPass> {
        match &self.origin {
            SumsOrigin::Streamed { second_pass, .. } => *second_pass,
            SumsOrigin::Merged(_) => None,
        }
    }

    /// The runs whose sums were merged; empty for a run that read a corpus.
    pub fn merged(&self) -> &[MergedRun] {
        match &self.origin {
            SumsOrigin::Streamed { .. } => &[],
            SumsOrigin::Merged(runs) => runs,
        }
    }

    /// The sealed JSON text.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        sealed(self)
    }

    /// Reads the sealed text back. Never fails: what is wrong is part of the answer.
    pub(super) fn parse(bytes: &[u8]) -> Parsed {
        let Some(json) = unsealed(bytes) else {
            return match format_of(bytes) {
                // A format of another version may be sealed in another way.
                Some(n) if !READABLE.contains(&u32::try_from(n).unwrap_or(u32::MAX)) && !looks_sealed(bytes) => {
                    Parsed::OtherFormat(n)
                }
                _ => Parsed::Damaged("its seal does not fit its text".to_string()),
            };
        };
        match format_of(&json) {
            Some(n) if !READABLE.contains(&u32::try_from(n).unwrap_or(u32::MAX)) => return Parsed::OtherFormat(n),
            _ => {}
        }
        match serde_json::from_slice::<Manifest>(&json) {
            Ok(m) => match m.files.keys().find(|path| !is_inside(path)) {
                None => Parsed::Whole(Box::new(m)),
                Some(path) => Parsed::Damaged(format!("it names {path:?}, which is outside the run directory")),
            },
            Err(e) => Parsed::Damaged(e.to_string()),
        }
    }

    /// Reads and checks the manifest at `path`, for commands that only read a run (reports, comparisons). The files it
    /// names are not checked.
    ///
    /// # Errors
    /// `Request` when there is none, `State` when it is damaged or of another format.
    pub fn read(path: &Path) -> Result<Manifest> {
        match Manifest::parse(&read_bounded(path).map_err(|e| Error::io("read", path, &e))?) {
            Parsed::Whole(m) => Ok(*m),
            Parsed::OtherFormat(n) => Err(other_format(path, n)),
            Parsed::Damaged(why) => Err(Error::state(format!(
                "manifest {} is damaged: {why}; run the same command again to fall back to the checkpoint before",
                path.display()
            ))),
        }
    }
}

impl Manifest {
    /// The manifest at `path`; `None` where there is none, or it is damaged or of another format.
    ///
    /// # Errors
    /// `Machine` where it cannot be read just now.
    pub fn whole_at(path: &Path) -> Result<Option<Manifest>> {
        match read_bounded(path) {
            Ok(bytes) => match Manifest::parse(&bytes) {
                Parsed::Whole(m) => Ok(Some(*m)),
                _ => Ok(None),
            },
            Err(e) if is_damage(&e) => Ok(None),
            Err(e) => Err(not_now(path, &e)),
        }
    }
}

/// The bytes of a manifest file, refusing one too long to be a manifest.
pub(super) fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let size = disk::metadata(path)?.len();
    if size > MAX_BYTES {
        let what = format!("{size} bytes is too long for a manifest (at most {MAX_BYTES})");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, what));
    }
    disk::read(path)
}

/// Whether an error of reading a file is damage of the file. Any other error (too many open files, a disk or a server
/// that does not answer, no permission) may pass, and the file may be whole.
pub(super) fn is_damage(e: &std::io::Error) -> bool {
    use std::io::ErrorKind as Io;
    matches!(e.kind(), Io::NotFound | Io::InvalidData | Io::IsADirectory | Io::NotADirectory)
}

/// The message about a file of a run directory that could not be looked at just now.
pub(super) fn not_now(path: &Path, e: &std::io::Error) -> Error {
    Error::machine(format!(
        "cannot look at {} just now: {e}; nothing was changed: run the same command again when it can be read, or remove the file if it \
         is lost, and the checkpoint before is used",
        path.display()
    ))
}

pub(super) fn other_format(path: &Path, found: u64) -> Error {
    let reads = match (READABLE.start(), READABLE.end()) {
        (first, last) if first == last => format!("format {last}"),
        (first, last) => format!("formats {first} to {last}"),
    };
    let reader = READ_BY.iter().find(|(format, _)| *format == found).map_or("the version that wrote it", |(_, by)| by);
    Error::state(format!(
        "{} is of format {found}, this version (cognate {}) reads {reads}; use {reader}, another --out, or --fresh to start \
         over",
        path.display(),
        env!("CARGO_PKG_VERSION"),
    ))
}

/// A relative path that stays inside: plain names only.
fn is_inside(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|c| matches!(c, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Manifest {
        let mut m = Manifest::new("ab12".into(), BTreeMap::from([("seed".to_string(), "0".to_string())]));
        m.files.insert("state/000000000007/a.safetensors".into(), FileRecord { size: 9, blake3: "00".into() });
        // A number whose shortest form is long: the seal is over the text, so no re-rounding can break it.
        let cursor = serde_json::json!({ "x": 0.1 + 0.2, "y": [1e300, null] });
        m.origin = SumsOrigin::Streamed { cursor, second_pass: None };
        m.ended = Ended::StopRule { churn_below: 0.1 + 0.2, snapshots: 3 };
        m.due = Some(SnapshotDue { snapshot: 4, list: true, ended: Ended::Corpus });
        (m.next_batch, m.rows) = (7, u64::MAX);
        m
    }

    #[test]
    fn text_reads_back_and_is_plain_json() {
        let bytes = example().to_bytes();
        assert_eq!(Manifest::parse(&bytes), Parsed::Whole(Box::new(example())));
        let json: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["next_batch"], 7);
        assert_eq!(json["seal"].as_str().unwrap().len(), 64);
    }

    #[test]
    fn no_flipped_bit_and_no_cut_goes_unnoticed() {
        let bytes = example().to_bytes();
        for i in 0..bytes.len() {
            assert!(matches!(Manifest::parse(&bytes[..i]), Parsed::Damaged(_)), "cut at {i}");
            for bit in 0..8 {
                let mut hurt = bytes.clone();
                hurt[i] ^= 1 << bit;
                assert!(!matches!(Manifest::parse(&hurt), Parsed::Whole(_)), "byte {i} bit {bit}");
            }
        }
    }

    #[test]
    fn another_format_is_named_and_a_path_outside_is_not_followed() {
        let mut m = example();
        m.format = 9;
        assert_eq!(Manifest::parse(&m.to_bytes()), Parsed::OtherFormat(9));
        assert_eq!(Manifest::parse(b"{\"format\": 4}"), Parsed::OtherFormat(4));
        // the format before has no snapshot that is due, and is otherwise the same
        (m.format, m.due) = (2, None);
        assert_eq!(Manifest::parse(&m.to_bytes()), Parsed::Whole(Box::new(m.clone())));
        assert!(!String::from_utf8(m.to_bytes()).unwrap().contains("\"due\""));
        m.format = 1;
        assert_eq!(Manifest::parse(&m.to_bytes()), Parsed::OtherFormat(1));
        let said = other_format(Path::new("manifest.json"), 1).to_string();
        assert!(said.contains("format 1") && said.contains("builds of cognate from before the release"), "{said}");
        for path in ["../x", "/etc/passwd", "", "state/../../x"] {
            let mut m = example();
            m.files.insert(path.into(), FileRecord { size: 0, blake3: String::new() });
            assert!(matches!(Manifest::parse(&m.to_bytes()), Parsed::Damaged(_)), "{path}");
        }
    }

    #[test]
    fn a_key_that_is_misspelt_or_missing_is_no_default() {
        let whole: Value = serde_json::to_value(example()).unwrap();
        let read = |json: &Value| Manifest::parse(&sealed(json));
        assert_eq!(read(&whole), Parsed::Whole(Box::new(example())));
        let inside = ["", "/asked", "/origin/streamed", "/ended/stop_rule", "/due", "/environment"];
        for place in inside {
            let keys: Vec<String> = whole.pointer(place).unwrap().as_object().unwrap().keys().cloned().collect();
            for key in keys {
                for misspelt in [None, Some(format!("{key}s"))] {
                    if key == "due" && misspelt.is_none() {
                        continue;
                    }
                    let mut json = whole.clone();
                    let object = json.pointer_mut(place).unwrap().as_object_mut().unwrap();
                    let value = object.remove(&key).unwrap();
                    object.extend(misspelt.map(|name| (name, value)));
                    assert!(matches!(read(&json), Parsed::Damaged(_)), "{place} {key}");
                }
            }
        }
    }
}
