//! Which models are run, with which sizes, and which hookpoints do the names in the dataflow file mean?

use crate::device::Compute;
use crate::error::{Error, Result};
use crate::ids::{HookName, Hookpoint, Site};
use crate::model::{
    Asked, Elsewhere, Feed, Holds, ModelShape, Network, RandomWeights, RowFiles, Stored, StoredLatents, StoredPlace,
};
use crate::plan::sizes::{Sized, of_model};
use crate::spec::DataflowSpec;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// A model to be run.
#[derive(Clone, Debug)]
pub struct PlannedModel {
    /// Its name in the dataflow file.
    pub name: String,
    /// Where it is; of a model that does not run here its tokenizer's folder.
    pub path: PathBuf,
    /// Who gives its activations, where it does not run here.
    pub elsewhere: Option<Elsewhere>,
    /// What it is fed: index into the views of a batch ([`TokenBatch::views`](crate::corpus::TokenBatch::views)). Models of one
    /// tokenizer share one.
    pub view: usize,
    /// What is drawn at random of its weights; `None` for the checkpoint's own.
    pub random_weights: Option<RandomWeights>,
    /// With what it is computed, where, and in which numbers; the same on each of some devices.
    pub computed: Vec<Compute>,
    /// Its sizes.
    pub shape: ModelShape,
    /// Every hookpoint to be read, ascending; the forward stops after the last.
    pub hookpoints: Vec<Hookpoint>,
    /// Places whose latents are not computed here.
    pub fed: Vec<Site>,
}

impl PlannedModel {
    /// With what it is computed, and in which numbers; where, on the first of its devices.
    pub fn compute(&self) -> Compute {
        self.computed[0]
    }

    /// Opens it: of a model that is run here, the blocks up to the last of `hookpoints`. A feed is not asked yet, and files are not
    /// looked for.
    ///
    /// # Errors
    /// Those of [`crate::model::open_for`].
    pub fn open(&self, hookpoints: &[Hookpoint]) -> Result<Network> {
        match &self.elsewhere {
            Some(elsewhere) => Ok(Network::Elsewhere(elsewhere.clone())),
            None => {
                let on =
                    |compute: &Compute| crate::model::open_for(&self.path, self.random_weights, *compute, hookpoints);
                Ok(Network::Forward(self.computed.iter().map(on).collect::<Result<_>>()?))
            }
        }
    }
}

/// The dataflow file with every place in its plain form ([`DataflowSpec::resolved`]), for commands that only read tables:
/// models are looked at only where a place is written in another library's words.
///
/// # Errors
/// Those of reading the models' headers.
pub fn resolved(spec: &DataflowSpec) -> Result<DataflowSpec> {
    let mut families: BTreeMap<String, String> = spec.models.keys().map(|name| (name.clone(), String::new())).collect();
    let other: BTreeSet<&str> =
        spec.written_places().filter(|name| name.plain().is_none()).map(|name| name.model.as_str()).collect();
    for name in other {
        let family = of_model(name, &spec.models[name], true)?.shape.names();
        families.insert(name.to_string(), family);
    }
    spec.resolved(&families)
}

/// The sizes of every model, by its name.
///
/// # Errors
/// `Request` for a model in no pair; those of [`of_model`].
pub(super) fn size_models(
    spec: &DataflowSpec,
    outline: bool,
    assumptions: &mut Vec<String>,
) -> Result<BTreeMap<String, Sized<ModelShape>>> {
    let pairs = spec.pairs();
    let mut out = BTreeMap::new();
    for (name, model) in &spec.models {
        if !pairs.iter().any(|(a, b)| a.model == *name || b.model == *name) {
            return Err(Error::request(format!(
                "[models.{name}] is in no pair; take it out, or name a site of it in compare.pairs"
            )));
        }
        let sized = of_model(name, model, outline)?;
        if let Some(source) = &sized.unverified {
            let path = model.tokenizer_path();
            assumptions.push(format!("model {name:?} is not here ({path}): its sizes are those of {source}"));
        }
        out.insert(name.clone(), sized);
    }
    Ok(out)
}

/// The models of `sized`, each with its hookpoints in `sites`.
///
/// # Errors
/// `Request` for contexts that are too long for a model, and a place that it does not have.
pub(super) fn plan_models(
    spec: &DataflowSpec,
    sized: BTreeMap<String, Sized<ModelShape>>,
    sites: &BTreeSet<Site>,
) -> Result<Vec<PlannedModel>> {
    let mut out = Vec::new();
    for (name, Sized { path, shape, .. }) in sized {
        let is_fed = |site: &&Site| spec.sae(site).is_some_and(|sae| sae.taken().is_some());
        let (fed, read): (Vec<&Site>, Vec<&Site>) = sites.iter().filter(|s| s.model == name).partition(is_fed);
        let hookpoints: BTreeSet<_> = read.into_iter().map(|s| s.hookpoint).collect();
        if let Some(max) = shape.max_context
            && spec.corpus.context_length > max
        {
            return Err(Error::request(format!(
                "model {name:?} takes at most {max} positions, corpus.context_length is {}; lower it",
                spec.corpus.context_length
            )));
        }
        for &h in &hookpoints {
            shape.width(h).map_err(|e| e.within(format!("model {name:?}")))?;
        }
        let written = &spec.models[&name];
        let hookpoints: Vec<Hookpoint> = hookpoints.into_iter().collect();
        let asked = |&hookpoint: &Hookpoint| {
            let holds = Holds::Activations { hookpoint, width: shape.width(hookpoint)? };
            Ok(Asked { name: hookpoint.to_string(), holds })
        };
        let latents = |site: &&Site| {
            let fed = spec.sae(site).and_then(|sae| sae.fed)?;
            Some(Ok(Asked { name: site.place(), holds: Holds::Latents { d_sae: fed.d_sae, most: fed.most() } }))
        };
        let elsewhere = match (&written.feed, &written.files) {
            (Some(options), _) => {
                let asked =
                    hookpoints.iter().map(asked).chain(fed.iter().filter_map(latents)).collect::<Result<_>>()?;
                Some(Elsewhere::Feed(Arc::new(Feed::new(&name, options.clone(), asked))))
            }
            (None, Some(files)) => {
                let places = stored_places(&shape, files, &hookpoints);
                let places = places.map_err(|e| e.within(format!("models.{name}.files")))?;
                Some(Elsewhere::Files(Arc::new(Stored::new(
                    &name,
                    places,
                    fed.iter().filter_map(stored_latents(spec)).collect(),
                ))))
            }
            (None, None) => None,
        };
        let (random_weights, computed) = (written.random_weights, written.computed());
        // until tokenizers are read
        let fed = fed.into_iter().cloned().collect();
        out.push(PlannedModel { name, path, elsewhere, view: 0, random_weights, computed, shape, hookpoints, fed });
    }
    Ok(out)
}

/// Where the latents of a place lie, of those that lie in files.
fn stored_latents(spec: &DataflowSpec) -> impl Fn(&&Site) -> Option<StoredLatents> {
    |site| {
        let sae = spec.sae(site)?;
        let (stored, sizes) = (sae.stored.as_ref()?, sae.taken()?);
        let (name, path) = (site.place(), stored.path.clone());
        Some(StoredLatents { name, path, d_sae: sizes.d_sae, most: sizes.most() })
    }
}

/// Where the rows of each of `hookpoints` lie, ascending; `files` as the dataflow file has them.
///
/// # Errors
/// `Request` for a name that means no place, two that mean one, a place without files, and files that no pair reads.
fn stored_places(
    shape: &ModelShape,
    files: &BTreeMap<HookName, RowFiles>,
    hookpoints: &[Hookpoint],
) -> Result<Vec<StoredPlace>> {
    let mut written: BTreeMap<Hookpoint, (&HookName, &RowFiles)> = BTreeMap::new();
    for (name, files) in files {
        let hookpoint = shape.place(name)?;
        if let Some((before, _)) = written.insert(hookpoint, (name, files)) {
            return Err(Error::request(format!("{before} and {name} are both {hookpoint}; name it once")));
        }
    }
    if let Some((_, (name, _))) = written.iter().find(|(hookpoint, _)| !hookpoints.contains(hookpoint)) {
        return Err(Error::request(format!(
            "no activations are read at {name}: no pair compares it, or its latents are `stored`; take it out, or compare it"
        )));
    }
    let place = |&hookpoint: &Hookpoint| {
        let Some((_, files)) = written.get(&hookpoint) else {
            let known: Vec<String> = written.keys().map(Hookpoint::to_string).collect();
            return Err(Error::request(format!(
                "no files are named for {hookpoint}, which is compared (there are some for {}); write \"{hookpoint}\" = \"FILES\"",
                known.join(", ")
            )));
        };
        Ok(StoredPlace { hookpoint, width: shape.width(hookpoint)?, files: (*files).clone() })
    };
    hookpoints.iter().map(place).collect()
}
