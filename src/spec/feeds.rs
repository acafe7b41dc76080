//! What does a dataflow file say of models that do not run here: another process runs them, or their activations lie in files?

use super::{DataflowSpec, FedLatents, ModelSpec, SaeSpec};
use crate::device::{Compute, DeviceName};
use crate::ids::HookName;
use crate::model::RowFiles;
use crate::sae::Encode;
use std::path::Path;

impl ModelSpec {
    /// Whether it does not run here.
    pub fn is_elsewhere(&self) -> bool {
        self.feed.is_some() || self.files.is_some()
    }

    /// With what it is computed, where, and in which numbers.
    pub fn compute(&self) -> Compute {
        Compute { backend: self.backend, device: self.device, dtype: self.dtype }
    }

    /// The same on each of the devices that were given for it.
    pub fn computed(&self) -> Vec<Compute> {
        let on = |&device: &DeviceName| Compute { device, ..self.compute() };
        if self.devices.is_empty() { vec![self.compute()] } else { self.devices.iter().map(on).collect() }
    }

    /// Paths and patterns of its activations, with their keys.
    pub(super) fn row_files(&self, name: &str) -> impl Iterator<Item = (String, &str)> {
        let files = self.files.iter().flatten();
        files.flat_map(move |(place, files)| {
            let key = format!("models.{name}.files.\"{place}\"");
            files.paths.iter().map(move |path| (key.clone(), path.as_str()))
        })
    }

    /// Every path in it: of the model, of its tokenizer, of its activations, and what of a feed may be one.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut String> {
        let of_feed = self.feed.iter_mut().flat_map(|feed| feed.command.iter_mut().chain(&mut feed.socket));
        let of_rows = self.files.iter_mut().flat_map(|files| files.values_mut()).flat_map(|files| &mut files.paths);
        std::iter::once(&mut self.path).chain(&mut self.tokenizer).chain(of_feed).chain(of_rows)
    }

    /// Makes what in its feed's command is relative to a folder absolute; a program without a folder is looked for on the `PATH`.
    pub(super) fn settle_command(&mut self) {
        for word in self.feed.iter_mut().flat_map(|feed| &mut feed.command) {
            if (word.starts_with("./") || word.starts_with("../"))
                && let Ok(path) = std::path::absolute(Path::new(word.strip_prefix("./").unwrap_or(word)))
            {
                *word = path.to_string_lossy().into_owned();
            }
        }
    }

    /// Path of its tokenizer: `tokenizer` where the file has it, else that of the weights.
    pub fn tokenizer_path(&self) -> &str {
        self.tokenizer.as_deref().unwrap_or(&self.path)
    }

    /// Where it is, for people.
    pub fn in_words(&self) -> String {
        match (&self.feed, &self.files) {
            (Some(feed), _) => feed.in_words(),
            (None, Some(files)) => {
                let of = |(place, files): (&HookName, &RowFiles)| format!("{place} in {}", files.paths.join(", "));
                files.iter().map(of).collect::<Vec<_>>().join("; ")
            }
            (None, None) => self.path.clone(),
        }
    }
}

impl SaeSpec {
    /// Sizes of its latents, where they are not computed here.
    pub fn taken(&self) -> Option<FedLatents> {
        let stored = self.stored.as_ref().map(|stored| FedLatents { d_sae: stored.d_sae, most: stored.most });
        self.fed.or(stored)
    }

    /// Every path in it.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut String> {
        std::iter::once(&mut self.path).chain(self.stored.iter_mut().map(|stored| &mut stored.path))
    }
}

impl DataflowSpec {
    /// What models and their feeds can have wrong.
    ///
    /// # Errors
    /// The message.
    pub(super) fn check_feeds(&self) -> Result<(), String> {
        for (site, sae) in &self.saes {
            check_sae(sae, self.models.get(&site.model)).map_err(|what| format!("saes.\"{site}\": {what}"))?;
        }
        for (name, model) in &self.models {
            check(model)
                .and_then(|()| self.check_files(name, model))
                .map_err(|what| format!("models.{name}: {what}"))?;
        }
        Ok(())
    }

    /// Appends what another run read: its corpus files, and the files of its models' activations. All other keys of the
    /// two are the same.
    ///
    /// # Errors
    /// A message where the files of both cannot be written as one list.
    pub fn add_files_of(&mut self, other: &DataflowSpec) -> Result<(), String> {
        self.corpus.files.extend(other.corpus.files.iter().cloned());
        if let Some((site, _)) = self.saes.iter().find(|(_, sae)| sae.stored.is_some()) {
            return Err(format!(
                "the latents of {site} lie in files, whose rows or sequences begin with 0 in each run, so no files are those of both; make one run \
                 over all of the corpus"
            ));
        }
        for (name, model) in &mut self.models {
            for (place, files) in model.files.iter_mut().flatten() {
                let key = format!("models.{name}.files.\"{place}\"");
                let theirs = other.models.get(name).and_then(|model| model.files.as_ref()?.get(place));
                match theirs {
                    Some(theirs) if theirs.tensor == files.tensor => files.paths.extend(theirs.paths.iter().cloned()),
                    Some(_) => return Err(format!("{key} have tensors of other names in the runs; name them alike")),
                    None => return Err(format!("{key} is not in the dataflow files of all; spell places alike")),
                }
            }
        }
        Ok(())
    }

    /// What a model whose activations lie in files takes of the rest of the file.
    fn check_files(&self, name: &str, model: &ModelSpec) -> Result<(), String> {
        let Some(files) = &model.files else { return Ok(()) };
        let has_latents = self.saes.iter().any(|(site, sae)| site.model == name && sae.stored.is_some());
        if files.is_empty() && !has_latents {
            return Err("files is empty; write \"HOOKPOINT\" = \"FILES\" for each place that is compared, or stored = {…} for its SAEs".into());
        }
        for (place, files) in files {
            files.check().map_err(|what| format!("files.\"{place}\": {what}"))?;
        }
        let shuffles = self.controls.iter().find(|(_, control)| control.shuffle.is_some());
        match (self.corpus.shuffle, shuffles) {
            (Some(_), _) => Err(
                "files hold what the model held on texts as they are, and corpus.shuffle puts their tokens in another \
                                    order; take shuffle out"
                    .into(),
            ),
            (_, Some((name, _))) => Err(format!(
                "files hold what the model held on texts as they are, and controls.{name}.shuffle puts their tokens in another order; take \
                 that control out"
            )),
            _ => Ok(()),
        }
    }
}

fn check(model: &ModelSpec) -> Result<(), String> {
    let of_elsewhere = [
        ("tokenizer", model.tokenizer.is_some()),
        ("d_model", model.d_model.is_some()),
        ("layers", model.layers.is_some()),
    ];
    let kind = match (&model.feed, &model.files) {
        (Some(_), Some(_)) => {
            return Err(
                "it has both feed and files; its activations come from a process or from files: take one of them out"
                    .into(),
            );
        }
        (Some(feed), None) => {
            feed.check()?;
            "feed"
        }
        (None, Some(_)) => "files",
        (None, None) if model.path.is_empty() => {
            return Err("path is missing; write path = \"FOLDER\", feed = {…} for a model that another process runs, or files = {…} for \
                        activations that lie in files"
                .into());
        }
        (None, None) => {
            return match of_elsewhere.iter().find(|(_, is_set)| *is_set) {
                Some((key, _)) => Err(format!(
                    "{key} changes nothing here: it is about a model with a feed or files, and this one has neither; take it out"
                )),
                None => Ok(()),
            };
        }
    };
    if !model.path.is_empty() {
        return Err(format!(
            "it has both path and {kind}; a model is run here, or its activations come from elsewhere: take one of them out"
        ));
    }
    if model.tokenizer.as_ref().is_none_or(String::is_empty) {
        return Err(
            "tokenizer is missing; write tokenizer = \"FOLDER\", the folder of the model's tokenizer.json".into()
        );
    }
    if model.tokenizer.as_ref().is_some_and(|path| path.starts_with("hf:")) {
        return Err(
            "tokenizer names a repository; write the folder on this machine that holds its tokenizer.json".into()
        );
    }
    if model.compute() != Compute::default() {
        return Err(format!(
            "backend, device and dtype are of a model that runs here, and this one has {kind}; take them out"
        ));
    }
    if model.random_weights.is_some() {
        return Err(format!("random_weights: the weights of a model with {kind} cannot be drawn here; take it out"));
    }
    if model.d_model.is_some() && model.sizes.is_some() {
        return Err("it has both d_model and sizes, and sizes gives the width too: take d_model out".into());
    }
    if model.layers.is_some() && model.d_model.is_none() {
        return Err(
            "layers goes with d_model; write both, or take it out: a configuration says the number of blocks".into()
        );
    }
    match (model.d_model, model.layers) {
        (Some(0 | 1_048_577..), _) => Err("d_model is out of range, expected 1 to 1048576".into()),
        (_, Some(0)) => Err("layers is 0, expected the number of blocks".into()),
        _ => Ok(()),
    }
}

/// Latents of an SAE at most.
const MOST_LATENTS: usize = 1 << 24;

/// What an SAE's entry can have wrong; `model` is its model's.
fn check_sae(sae: &SaeSpec, model: Option<&ModelSpec>) -> Result<(), String> {
    let Some(taken) = sae.taken() else {
        return match sae.path.is_empty() {
            true => {
                Err("path is missing; write path = \"FOLDER\", fed = {…} where the model's feed gives its latents, or stored = {…} where they \
                     lie in files"
                    .into())
            }
            false => Ok(()),
        };
    };
    let kind = if sae.fed.is_some() { "fed" } else { "stored" };
    if sae.fed.is_some() && sae.stored.is_some() {
        return Err(
            "it has both fed and stored; its latents come from the feed or from files: take one of them out".into()
        );
    }
    if !sae.path.is_empty() {
        return Err(format!(
            "it has both path and {kind}; its latents are computed here, or come from elsewhere: take one of them out"
        ));
    }
    if sae.fed.is_some() && model.is_none_or(|model| model.feed.is_none()) {
        return Err(
            "fed: its model has no feed, and a feed would give them; give the model a feed, or the SAE a path".into()
        );
    }
    if sae.stored.is_some() && model.is_none_or(|model| model.files.is_none()) {
        return Err("stored: its model has no files; write files = {} for a model that does not run here".into());
    }
    if sae.stored.as_ref().is_some_and(|stored| stored.path.is_empty()) {
        return Err("stored.path is empty; write the folder of a latent cache, or Parquet files".into());
    }
    let keys = [
        ("format", sae.format.is_some()),
        ("encode", sae.encode != Encode::default()),
        ("subtract_b_dec", sae.subtract_b_dec.is_some()),
        ("scale", sae.scale.is_some()),
        ("center", sae.center.is_some()),
        ("random", sae.random.is_some()),
        ("insist", !sae.insist.is_empty()),
        ("sizes", sae.sizes.is_some()),
    ];
    if let Some((key, _)) = keys.iter().find(|(_, is_set)| *is_set) {
        return Err(format!("{key} changes nothing here: its latents are taken as they are given; take it out"));
    }
    if !(1..=MOST_LATENTS).contains(&taken.d_sae) || !(1..=taken.d_sae).contains(&taken.most()) {
        return Err(format!(
            "{kind} has d_sae = {} and most = {}; expected 1 to {MOST_LATENTS} latents, and most from 1 to d_sae",
            taken.d_sae,
            taken.most()
        ));
    }
    Ok(())
}
