//! How are missing files downloaded? Through the `hf-hub` crate, file by file, into the cache that Python uses too.
//!
//! hf-hub 0.4 with its blocking client is what is used: the crate's first release with another interface brings an
//! asynchronous runtime and 160 packages more.

use super::cache::{CHECKPOINT, CHECKPOINTS, OLDER, command, is_sae_weights, names_a_file, shards};
use super::{DownloadStep, Hub, Reference, Tell, Want, split_names};
use crate::disk;
use crate::error::{Error, Result};
use hf_hub::api::Progress;
use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Repo, RepoType};
use std::collections::BTreeSet;

/// Files of a model besides its weights, from which the tokenizer and its special tokens are read.
const BESIDE: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];

impl Hub {
    /// Downloads what is wanted and not yet in the cache.
    ///
    /// # Errors
    /// `Request` when the repository does not exist, is closed or does not hold it; `Machine` when it cannot be reached or
    /// written.
    pub(super) fn download(&self, reference: &Reference, want: Want, tell: Tell) -> Result<()> {
        let told = |e: ApiError| self.failed(reference, want, e);
        // links inside the cache are made from absolute paths
        let cache = std::path::absolute(&self.cache).unwrap_or_else(|_| self.cache.clone());
        disk::create_dir_all(&cache).map_err(|e| Error::io("make the cache of weights", &cache, &e))?;
        let mut api = ApiBuilder::new().with_cache_dir(cache).with_token(self.token.clone()).with_progress(false);
        if let Some(endpoint) = &self.endpoint {
            api = api.with_endpoint(endpoint.clone());
        }
        let repo = Repo::with_revision(reference.repository.clone(), RepoType::Model, reference.revision.clone());
        let repo = api.with_retries(2).build().map_err(told)?.repo(repo);
        let info = repo.info().map_err(told)?;
        let names: BTreeSet<String> = info.siblings.into_iter().map(|s| s.rfilename).collect();
        let snapshot = self.folder(&reference.repository).join("snapshots").join(info.sha);
        let get = |name: &str| match snapshot.join(name) {
            here if disk::is_file(&here) => Ok(here),
            _ => get(&repo, name, tell).map_err(told),
        };
        if let Some(parts) = split_names(&reference.inside) {
            return parts.iter().try_for_each(|name| get(name).map(drop));
        }
        if want == Want::Sae || names_a_file(&reference.inside) {
            return sae_files(reference, &names)?.iter().try_for_each(|name| get(name).map(drop));
        }
        let inside = |name: &str| Some(reference.within(name)).filter(|name| names.contains(name));
        let older = OLDER.iter().filter(|_| inside("tokenizer.json").is_none());
        for name in BESIDE.iter().chain(older).filter_map(|name| inside(name)) {
            get(&name)?;
        }
        if want == Want::Config {
            return Ok(());
        }
        for (single, index) in CHECKPOINTS {
            if let Some(single) = inside(single) {
                return get(&single).map(drop);
            }
            if let Some(index) = inside(index) {
                let index = get(&index)?;
                let mut shards = shards(&index).into_iter();
                return shards.try_for_each(|shard| inside(&shard).map_or(Ok(()), |name| get(&name).map(drop)));
            }
        }
        Err(Error::request(format!(
            "{reference}: the repository holds no model.safetensors or pytorch_model.bin and no index of such; name a revision \
             or another repository with safetensors, or a .gguf file in it"
        )))
    }

    fn failed(&self, reference: &Reference, want: Want, e: ApiError) -> Error {
        let by_hand = command(reference, want);
        match e {
            ApiError::RequestError(e) => {
                let what = e.to_string();
                match e.into_response().map(|answer| answer.status()) {
                    Some(401 | 403) => Error::request(format!(
                        "{reference}: the hub requires an access token (or there is no such repository); accept the model's terms \
                         there and set HF_TOKEN"
                    )),
                    Some(404) => Error::request(format!(
                        "{reference}: the hub knows no such repository, revision or file; check the name, and set HF_TOKEN if it \
                         is closed"
                    )),
                    Some(status) => Error::machine(format!(
                        "{reference}: the hub answered {status}; try again, or fetch it with: {by_hand}"
                    )),
                    None => Error::machine(format!(
                        "{reference}: it is not in the cache {}, and the hub cannot be reached ({}); where there is a network, fetch \
                         it with: {by_hand}",
                        self.cache.display(),
                        without_address(&what)
                    )),
                }
            }
            ApiError::IoError(e) => Error::machine(format!(
                "{reference}: downloading into {}: {e}; run the same command again to resume",
                self.cache.display()
            )),
            ApiError::LockAcquisition(path) => Error::machine(format!(
                "{reference}: another process is downloading it ({} is held); wait for it and run the same command again",
                path.display()
            )),
            other => {
                Error::machine(format!("{reference}: downloading: {other}; try again, or fetch it with: {by_hand}"))
            }
        }
    }
}

/// An HTTP client's message, without the address before it.
fn without_address(text: &str) -> &str {
    match text.split_once(": ") {
        Some((address, what)) if address.contains("://") => what,
        _ => text,
    }
}

/// Files of the one SAE that is meant.
///
/// # Errors
/// `Request` when it is not there, or when several could be meant.
fn sae_files(reference: &Reference, names: &BTreeSet<String>) -> Result<Vec<String>> {
    let file = names_a_file(&reference.inside) && names.contains(&reference.inside);
    let folder = match reference.inside.rsplit_once('/') {
        Some((folder, _)) if file => format!("{folder}/"),
        _ if file || reference.inside.is_empty() => String::new(),
        _ => format!("{}/", reference.inside),
    };
    let here = || names.iter().filter_map(|name| Some((name, name.strip_prefix(&folder)?)));
    let weights: Vec<&String> = if file {
        names.get(&reference.inside).into_iter().collect()
    } else {
        here().filter(|(_, below)| is_sae_weights(below) || *below == CHECKPOINT).map(|(name, _)| name).collect()
    };
    match weights.as_slice() {
        [weights] => {
            let configuration = here().filter(|(_, below)| !below.contains('/') && below.ends_with(".json"));
            Ok(configuration.map(|(name, _)| name).chain([*weights]).cloned().collect())
        }
        [] => Err(Error::request(format!(
            "{reference}: the repository holds no file of weights there; check the folder and the revision"
        ))),
        several => {
            let some: Vec<&str> = several.iter().take(4).map(|name| name.as_str()).collect();
            Err(Error::request(format!(
                "{reference}: there are {} files of weights ({} …); name one of them",
                several.len(),
                some.join(", ")
            )))
        }
    }
}

/// One file into the cache; its path there.
fn get(repo: &ApiRepo, name: &str, tell: Tell) -> Result<std::path::PathBuf, ApiError> {
    repo.download_with_progress(name, Steps { tell, file: name, size_bytes: 0, done_bytes: 0 })
}

struct Steps<'a> {
    tell: Tell<'a>,
    file: &'a str,
    size_bytes: u64,
    done_bytes: u64,
}

impl Steps<'_> {
    fn say(&self) {
        (self.tell)(&DownloadStep { file: self.file, size_bytes: self.size_bytes, done_bytes: self.done_bytes });
    }
}

impl Progress for Steps<'_> {
    fn init(&mut self, size: usize, _: &str) {
        (self.size_bytes, self.done_bytes) = (size as u64, 0);
    }

    fn update(&mut self, size: usize) {
        self.done_bytes += size as u64;
        self.say();
    }

    fn finish(&mut self) {
        self.done_bytes = self.size_bytes;
        self.say();
    }
}
