//! What does the cache hold? Its layout: `models--OWNER--NAME/refs/REVISION` names a commit, `snapshots/COMMIT/` holds its
//! files, each a link into `blobs/`.

use super::{Reference, Tell, Want, split_names};
use crate::disk;
use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A cache and how it may be filled.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The folder of all repositories.
    pub cache: PathBuf,
    /// Whether the network is left alone.
    pub offline: bool,
    /// Access token, for gated repositories.
    pub token: Option<String>,
    /// Address of the hub; the public one by default.
    pub endpoint: Option<String>,
}

/// What keeps a place from being whole.
#[derive(Clone, Debug)]
pub(super) struct Missing {
    /// What was looked at: the snapshot's folder, or what should have named it.
    pub place: PathBuf,
    /// The file that is missing, as the repository names it; `None` when nothing of the revision is there.
    pub file: Option<String>,
    /// Why the place cannot be read just now; the file may be there all the same.
    pub unread: Option<Error>,
}

const CONFIG: &str = "config.json";
/// How a model's weights may be stored in its folder: one file, or an index and the files that it names. The first that is
/// there is taken, in transformers' order.
pub const CHECKPOINTS: [(&str, &str); 2] =
    [("model.safetensors", "model.safetensors.index.json"), ("pytorch_model.bin", "pytorch_model.bin.index.json")];
const TOKENIZER: &str = "tokenizer.json";
/// Its replacement where there is none.
pub(super) const OLDER: [&str; 2] = ["vocab.json", "merges.txt"];

/// The only thing here that is read out of a file: which shards belong to a checkpoint.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Hub {
    /// As the environment has it.
    pub fn from_env() -> Hub {
        Hub::of(|name| std::env::var(name).ok())
    }

    /// As `variable` has it.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Hub {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let user_cache = || match set("XDG_CACHE_HOME") {
            Some(folder) => PathBuf::from(folder),
            None => PathBuf::from(set("HOME").unwrap_or_default()).join(".cache"),
        };
        let home = set("HF_HOME").map_or_else(|| user_cache().join("huggingface"), PathBuf::from);
        let cache = set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE"));
        let yes = |name: &str| {
            set(name).is_some_and(|v| ["1", "true", "yes", "on"].contains(&v.to_ascii_lowercase().as_str()))
        };
        let token_file = set("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
        let token = set("HF_TOKEN").or_else(|| set("HUGGING_FACE_HUB_TOKEN"));
        let token = token.or_else(|| disk::read_to_string(&token_file).ok());
        Hub {
            cache: cache.map_or_else(|| home.join("hub"), PathBuf::from),
            offline: yes("HF_HUB_OFFLINE") || yes("TRANSFORMERS_OFFLINE"),
            token: token.map(|t| t.trim().to_string()).filter(|t| !t.is_empty()),
            endpoint: set("HF_ENDPOINT"),
        }
    }

    /// The folder or file of `reference` in the cache, when all wanted files are present.
    pub(super) fn find(&self, reference: &Reference, want: Want) -> Result<PathBuf, Missing> {
        let snapshot = self.snapshot(reference)?;
        let lacks = |file: String| Missing { place: snapshot.clone(), file: Some(file), unread: None };
        let path = if reference.inside.is_empty() { snapshot.clone() } else { snapshot.join(&reference.inside) };
        if disk::is_file(&path) {
            // of a split file every part
            let parts = split_names(&reference.inside).unwrap_or_default();
            return match parts.into_iter().find(|part| !disk::is_file(&snapshot.join(part))) {
                Some(part) => Err(lacks(part)),
                None => Ok(path),
            };
        }
        let there = |name: &str| disk::is_file(&path.join(name));
        let missing = match want {
            // a folder may be called like a file
            _ if names_a_file(&reference.inside) && !disk::is_dir(&path) => Some(reference.inside.clone()),
            Want::Config => (!there(CONFIG)).then(|| reference.within(CONFIG)),
            Want::Weights | Want::Model => {
                let mut needed = vec![CONFIG.to_string()];
                match CHECKPOINTS.iter().find(|(single, index)| there(single) || there(index)) {
                    Some((single, index)) if !there(single) => needed.extend(shards(&path.join(index))),
                    Some(_) => {}
                    None => needed.push(CHECKPOINTS[0].0.into()),
                }
                if want == Want::Model && !OLDER.iter().all(|name| there(name)) {
                    needed.push(TOKENIZER.into());
                }
                needed.into_iter().find(|name| !there(name)).map(|name| reference.within(&name))
            }
            Want::Sae => {
                let listed = disk::names_in(&path).or_else(|e| match unread(&path, &e) {
                    None => Ok(Vec::new()),
                    unread => Err(Missing { place: path.clone(), file: None, unread }),
                })?;
                let mut names: Vec<String> = listed.into_iter().filter_map(|name| name.into_string().ok()).collect();
                names.push(CHECKPOINT.into());
                (!names.iter().any(|n| is_sae_weights(n) && there(n)))
                    .then(|| reference.within("(the file of weights)"))
            }
        };
        missing.map_or(Ok(path.clone()), |file| Err(lacks(file)))
    }

    /// The folder of a repository.
    pub(super) fn folder(&self, repository: &str) -> PathBuf {
        self.cache.join(format!("models--{}", repository.replace('/', "--")))
    }

    /// The folder of the revision.
    fn snapshot(&self, reference: &Reference) -> Result<PathBuf, Missing> {
        let repository = self.folder(&reference.repository);
        let commit = if reference.is_commit() {
            reference.revision.clone()
        } else {
            let named = repository.join("refs").join(&reference.revision);
            match disk::read_to_string(&named) {
                Ok(commit) => commit.trim().to_string(),
                Err(e) => return Err(Missing { unread: unread(&named, &e), place: named, file: None }),
            }
        };
        let folder = repository.join("snapshots").join(&commit);
        // what a reference file holds is one name, never a way out of the cache
        let plain = !commit.is_empty() && commit.chars().all(|c| c.is_ascii_alphanumeric());
        if plain && disk::is_dir(&folder) {
            Ok(folder)
        } else {
            Err(Missing { place: folder, file: None, unread: None })
        }
    }

    /// The error about what is missing: where it was looked for and how to get it.
    pub(super) fn not_here(&self, reference: &Reference, want: Want, missing: &Missing) -> Error {
        if let Some(error) = &missing.unread {
            return error.clone().within(reference);
        }
        let place = missing.place.display();
        let what = match &missing.file {
            Some(file) => format!("the cache holds only part of it: {file} is missing in {place}"),
            None => format!("it is not in the cache: there is no {place}"),
        };
        let why = match self.offline {
            true => " (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set)",
            false if !cfg!(feature = "download") => {
                " (this cognate was built without downloads, the cargo feature `download`)"
            }
            false => "",
        };
        Error::request(format!("{reference}: {what}{why}; fetch it with: {}", command(reference, want)))
    }

    /// The place, after downloading what is missing.
    ///
    /// # Errors
    /// As [`super::fetch`].
    pub fn fetch(&self, reference: &Reference, want: Want, tell: Tell) -> Result<PathBuf> {
        match self.find(reference, want) {
            Ok(path) => return Ok(path),
            Err(missing) if missing.unread.is_some() || self.offline || !cfg!(feature = "download") => {
                return Err(self.not_here(reference, want, &missing));
            }
            Err(_) => self.download(reference, want, tell)?,
        }
        self.find(reference, want).map_err(|missing| self.not_here(reference, want, &missing))
    }

    #[cfg(not(feature = "download"))]
    fn download(&self, _: &Reference, _: Want, _: Tell) -> Result<()> {
        Ok(())
    }
}

/// The error of a file or folder that cannot be read just now; `None` where it is not there.
fn unread(path: &Path, e: &std::io::Error) -> Option<Error> {
    use std::io::ErrorKind as Io;
    let is_gone = matches!(e.kind(), Io::NotFound | Io::NotADirectory | Io::InvalidInput | Io::InvalidFilename);
    (!is_gone).then(|| Error::io("read", path, e))
}

/// How a person fetches it by hand.
pub(super) fn command(reference: &Reference, want: Want) -> String {
    let Reference { repository, revision, inside } = reference;
    let mut out = format!("hf download {repository}");
    if names_a_file(inside) {
        out += &format!(" {}", split_names(inside).unwrap_or_else(|| vec![inside.clone()]).join(" "));
    } else if want == Want::Sae && !inside.is_empty() {
        out += &format!(" --include \"{inside}/*\"");
    } else if want != Want::Sae {
        out += " --include \"*.json\" \"*.safetensors\"";
    }
    if revision != "main" {
        out += &format!(" --revision {revision}");
    }
    out
}

/// Endings of files that a reference may name by itself.
pub(super) fn names_a_file(inside: &str) -> bool {
    [".gguf", ".safetensors", ".npz", ".pt", ".pth"].iter().any(|ending| inside.ends_with(ending))
}

/// Where one format keeps its weights, one folder down.
pub(super) const CHECKPOINT: &str = "checkpoints/final.safetensors";

/// Whether a file in the folder of an SAE's configuration may be its weights; some releases put examples and firing rates there.
pub(super) fn is_sae_weights(name: &str) -> bool {
    let other = ["examples.safetensors", "sparsity.safetensors"].contains(&name);
    names_a_file(name) && !name.ends_with(".gguf") && !other && (!name.contains('/') || name == CHECKPOINT)
}

/// Files that an index names; none when it cannot be read, which opening it reports.
pub(super) fn shards(index: &Path) -> Vec<String> {
    let text = disk::read_to_string(index).unwrap_or_default();
    let Ok(index) = serde_json::from_str::<Index>(&text) else { return Vec::new() };
    let mut files: Vec<String> = index.weight_map.into_values().collect();
    files.sort();
    files.dedup();
    files
}
