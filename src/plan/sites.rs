//! What is compared at each site of a pair: the latents of an SAE, or the dimensions of the hookpoint? At which sites are raw
//! activations compared as well?

use crate::error::{Error, Result};
use crate::hub::{Reference, registry};
use crate::ids::Site;
use crate::plan::declared::{Asked, settle};
use crate::plan::sizes::{Sized, of_sae};
use crate::plan::{
    Origin, Pair, PlannedModel, PlannedReadout, PlannedSae, PlannedStitch, RawPair, RawSite, Space, Tap,
};
use crate::sae::Reading;
use crate::spec::{DataflowSpec, Insist, SaeSpec};
use std::collections::BTreeMap;

/// Notes on a plan.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// What is taken at its word, a sentence each.
    pub assumptions: Vec<String>,
    /// Where an SAE's own files contradict the dataflow file, with its site.
    pub contradictions: Vec<(Site, String)>,
    /// What is worth reporting of an SAE's own files, with the sites it is true of.
    pub warnings: BTreeMap<String, Vec<Site>>,
}

/// The space of `site`, whose model is one of `models`; `outline`: its SAE need not be there.
///
/// # Errors
/// `Request` for an SAE that does not fit its hookpoint, or a place whose batches are too large; those of [`of_sae`].
pub(super) fn plan_space(
    spec: &DataflowSpec,
    site: &Site,
    models: &[PlannedModel],
    outline: bool,
    notes: &mut Notes,
) -> Result<Space> {
    let model = models.iter().position(|m| m.name == site.model).expect("the spec knows every site's model");
    if let Some(fed) = spec.sae(site).and_then(SaeSpec::taken) {
        let nth = models[model].fed.iter().position(|place| place == site).expect("gathered from all sites");
        check_batch(spec, site, fed.most())?;
        return Ok(Space {
            site: site.clone(),
            width: fed.d_sae,
            origin: Origin::Fed { model, nth, most: fed.most() },
        });
    }
    let slot = models[model].hookpoints.iter().position(|h| *h == site.hookpoint).expect("gathered from all sites");
    let (tap, width) = (Tap { model, slot }, models[model].shape.width(site.hookpoint)?);
    let (width, origin) = match spec.sae(site) {
        None => {
            check_batch(spec, site, width)?;
            (width, Origin::Raw { tap })
        }
        Some(sae) => {
            let sae = Box::new(plan_sae(spec, site, sae, &models[model], outline, notes)?);
            (sae.shape.d_sae, Origin::Sae { tap, sae })
        }
    };
    Ok(Space { site: site.clone(), width, origin })
}

/// Refuses what needs activations at places whose latents are not computed here.
///
/// # Errors
/// `Request` naming key and place.
pub(super) fn check_fed(spec: &DataflowSpec, spaces: &[Space]) -> Result<()> {
    let keys = [
        ("estimate.activation_measures", !spec.estimate.activation_measures.is_empty()),
        ("compare.readout", spec.compare.readout),
        ("compare.stitch", spec.compare.stitch),
    ];
    let fed = spaces.iter().find(|space| space.tap().is_none());
    match (keys.iter().find(|(_, is_set)| *is_set), fed) {
        (Some((key, _)), Some(space)) => Err(Error::request(format!(
            "{key} needs the activations at every place, and at {} there are latents alone; take the key out, or give that SAE a path and \
             its model activations",
            space.site
        ))),
        _ => Ok(()),
    }
}

/// Refuses batches of more values at a place taken as it is than can be handed on.
fn check_batch(spec: &DataflowSpec, site: &Site, width: usize) -> Result<()> {
    let entries = (spec.corpus.batch_contexts as u64)
        .saturating_mul(spec.corpus.context_length as u64)
        .saturating_mul(width as u64);
    if entries > u64::from(u32::MAX) {
        return Err(Error::request(format!(
            "a batch of {} contexts of {} tokens is {entries} values at {site}, more than {} can be handed on at once; \
             lower corpus.batch_contexts",
            spec.corpus.batch_contexts,
            spec.corpus.context_length,
            u32::MAX
        )));
    }
    Ok(())
}

fn plan_sae(
    spec: &DataflowSpec,
    site: &Site,
    sae: &SaeSpec,
    model: &PlannedModel,
    outline: bool,
    notes: &mut Notes,
) -> Result<PlannedSae> {
    let within = |e: Error| e.within(format!("sae \"{site}\""));
    // a name that no registry knows is wrong wherever the files lie
    Reference::parse(&sae.path).map_err(within)?;
    let facts = registry::facts(&sae.path);
    let overrides = facts.as_ref().map(|facts| facts.overrides.clone()).unwrap_or_default();
    let trust_weights = sae.insist.contains(&Insist::Width);
    let base = Reading { subtract_b_dec: sae.subtract_b_dec, trust_weights, overrides, ..Reading::of(sae.format) };
    let Sized { path, shape, unverified } = of_sae(site, sae, &base, outline)?;
    let here = unverified.is_none();
    if let Some(source) = unverified {
        notes.assumptions.push(format!("sae \"{site}\" is not here ({}): its sizes are those of {source}", sae.path));
    }
    let shape = sae.random.map_or(Ok(shape.clone()), |random| random.shape(&shape)).map_err(within)?;
    let settled = settle(
        &Asked {
            site,
            spec: sae,
            sae: &shape,
            facts: facts.as_ref(),
            model: &model.shape,
            model_names: &model_names(model, &spec.models[&site.model].path)?,
            corpus: &spec.corpus,
        },
        base,
    );
    notes.contradictions.extend(settled.contradictions.into_iter().map(|what| (site.clone(), what)));
    for warning in settled.warnings {
        notes.warnings.entry(warning).or_default().push(site.clone());
    }
    let width = model.shape.width(site.hookpoint)?;
    if shape.d_in != width && shape.declared.head.is_none() {
        return Err(Error::request(format!(
            "sae \"{site}\": its encoder takes {} dimensions, hookpoint {} of model {:?} is {width} wide; check the SAE's path \
             ({}) and the hookpoint",
            shape.d_in, site.hookpoint, site.model, sae.path
        )));
    }
    if here && settled.reading.scale.is_some() {
        crate::sae::header_as(&path, &settled.reading).map_err(within)?;
    }
    Ok(PlannedSae {
        path,
        reading: settled.reading,
        shape,
        random: sae.random,
        place: site.to_string(),
        encode: sae.encode,
        output: settled.output,
        registered_scale: facts.as_ref().and_then(|facts| facts.scale),
        // latents of a random SAE have no page there
        neuronpedia: facts.filter(|_| sae.random.is_none()).and_then(|facts| facts.neuronpedia),
        any_fvu: sae.insist.contains(&Insist::Fvu),
        computed: model.computed.clone(),
    })
}

/// What a model is called: by the repository that the dataflow file or the cache names, else by its folder; and by the name that
/// its configuration holds.
///
/// # Errors
/// `Machine` when its configuration cannot be read just now.
fn model_names(model: &PlannedModel, written: &str) -> Result<Vec<String>> {
    let last = || model.path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut names: Vec<String> =
        registry::place(written).map(|(repository, _)| repository).or_else(last).into_iter().collect();
    names.extend(crate::model::name_of(&model.path)?);
    Ok(names)
}

/// The sites of the `wanted` pairs, whose raw activations are compared, in order of their first pair; and these pairs.
pub(super) fn raw_sites(
    spaces: &[Space],
    pairs: &[Pair],
    models: &[PlannedModel],
    wanted: impl Fn(&Pair) -> bool,
) -> (Vec<RawSite>, Vec<RawPair>) {
    let mut sites: Vec<RawSite> = Vec::new();
    let mut index = |space: &Space| -> usize {
        if let Some(k) = sites.iter().position(|r| r.site == space.site) {
            return k;
        }
        let tap = space.tap().expect("activations are compared where there are some: check_fed");
        let width = models[tap.model].shape.width(space.site.hookpoint).expect("checked with the model");
        sites.push(RawSite { site: space.site.clone(), tap, width });
        sites.len() - 1
    };
    let raw_pairs = (pairs.iter().enumerate().filter(|(_, p)| wanted(p)))
        .map(|(pair, p)| RawPair { pair, source: index(&spaces[p.source]), target: index(&spaces[p.target]) })
        .collect();
    (sites, raw_pairs)
}

/// What `compare.readout` comes to: the latents of every SAE of a pair out of the raw activations of the pair's other place, and these places;
/// each once, in order of its first pair. Not of pairs of one hookpoint.
pub(super) fn readouts(
    spaces: &[Space],
    pairs: &[Pair],
    models: &[PlannedModel],
) -> (Vec<RawSite>, Vec<PlannedReadout>) {
    let (mut sites, mut out): (Vec<RawSite>, Vec<PlannedReadout>) = (Vec::new(), Vec::new());
    for (space, other) in pairs.iter().flat_map(|p| [(p.source, p.target), (p.target, p.source)]) {
        // latents are computed from their own activations: reading them out of these means nothing
        if spaces[space].is_raw() || spaces[space].tap() == spaces[other].tap() {
            continue;
        }
        let readout = PlannedReadout { space, site: place_among(&mut sites, &spaces[other], models) };
        if !out.contains(&readout) {
            out.push(readout);
        }
    }
    (sites, out)
}

/// What `compare.stitch` comes to: both places of every pair of two hookpoints; those that are not among `sites` yet are added.
pub(super) fn stitches(
    spaces: &[Space],
    pairs: &[Pair],
    models: &[PlannedModel],
    sites: &mut Vec<RawSite>,
) -> Vec<PlannedStitch> {
    let mut place = |space: usize| place_among(sites, &spaces[space], models);
    // activations of one hookpoint are mapped onto themselves by any map that is worth its name
    let each = pairs.iter().enumerate().filter(|(_, p)| spaces[p.source].tap() != spaces[p.target].tap());
    each.map(|(pair, p)| PlannedStitch { pair, source: place(p.source), target: place(p.target) }).collect()
}

/// Index of a space's place among `sites`; it is added where it is not there yet.
fn place_among(sites: &mut Vec<RawSite>, place: &Space, models: &[PlannedModel]) -> usize {
    sites.iter().position(|r| r.site == place.site).unwrap_or_else(|| {
        let tap = place.tap().expect("activations are compared where there are some: check_fed");
        let width = models[tap.model].shape.width(place.site.hookpoint).expect("checked with the model");
        sites.push(RawSite { site: place.site.clone(), tap, width });
        sites.len() - 1
    })
}
