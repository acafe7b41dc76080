//! `cognate plan`: what would be done.

use crate::cli::machine::limit;
use crate::cli::measure::Measured;
use crate::cli::progress::Console;
use crate::cli::recorded::recorded_cross;
use crate::corpus::{RowRule, RowUnit, Sample, SpanContexts};
use crate::device::DeviceName;
use crate::error::{Error, Result};
use crate::ids::{Site, Tag};
use crate::model::{Elsewhere, Stored};
use crate::plan::{Machines, Origin, Outline, Purpose, Request, grouped};
use crate::sae::Pool;
use crate::spec::DataflowSpec;
use crate::units::{human_bytes, thousands};
use serde_json::json;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// The machines that are asked about.
pub struct Wanted {
    /// How many.
    pub n: u64,
    /// Devices of each.
    pub devices: Option<u64>,
    /// Gbit a second of each.
    pub gbit: f64,
}

impl Wanted {
    /// # Errors
    /// `Request` for devices that the dataflow file does not use.
    fn machines(&self, plan: &Outline) -> Result<Machines> {
        let computes = plan.models().iter().any(|model| model.compute().device != DeviceName::Cpu);
        if self.devices.is_some() && !computes {
            return Err(Error::request(
                "--devices is given, but no model of the dataflow file has a device; write device = \"cuda:0\", or leave it out",
            ));
        }
        let devices = if computes { self.devices.unwrap_or(1) } else { 0 };
        Ok(Machines { n: self.n, devices, network: self.gbit * 1e9 / 8.0 })
    }
}

/// Prints the plan of the dataflow file `flow`, whose weights and corpus need not be here.
///
/// # Errors
/// Those of reading and planning; `Machine` when it is over `memory_limit`.
pub fn plan(
    flow: &Path,
    json: bool,
    memory_limit: Option<&str>,
    measure: bool,
    wanted: Option<Wanted>,
) -> Result<ExitCode> {
    let (spec, _) = DataflowSpec::read(flow)?;
    let known = recorded_cross(&spec.default_directory())?;
    // what is measured must be here whole
    let purpose = if measure { Purpose::Run } else { Purpose::Outline };
    let request = Request { spec, purpose, memory_limit: limit(memory_limit)?, known_cross: known };
    let outline = request.outline()?;
    let machines = wanted.map(|wanted| wanted.machines(&outline)).transpose()?;
    let fits = outline.check_memory();
    let measured =
        if measure && fits.is_ok() { Some(Measured::of(&Arc::new(request.plan(|_| {})?), machines)?) } else { None };
    if json {
        let mut out = as_json(&outline);
        out["measured"] = json!(measured);
        println!("{out}");
    } else {
        print!("{}{}", as_text(&outline), measured.map_or(String::new(), |m| m.as_text()));
        let voice = Console::new(false, false);
        outline.warnings_in_words().iter().for_each(|warning| voice.warn(warning));
    }
    fits?;
    Ok(ExitCode::SUCCESS)
}

/// The plan for people.
pub fn as_text(plan: &Outline) -> String {
    let mut out = format!("plan of {:?}\n", plan.spec().name);
    let mut line = |text: String| writeln!(out, "{text}").expect("a string takes all");
    say_text(plan, &mut line);
    say_models(plan, &mut line);
    say_spaces(plan, &mut line);
    say_pairs(plan, &mut line);
    say_scores(plan, &mut line);
    say_budgets(plan, &mut line);
    out
}

/// Takes a line of the plan.
type TakeLine<'a> = &'a mut dyn FnMut(String);

fn say_text(plan: &Outline, line: TakeLine) {
    let spec = plan.spec();
    line(format!(
        "  corpus    {}; contexts of {} tokens, {} a batch",
        corpus_in_short(plan),
        spec.corpus.context_length,
        spec.corpus.batch_contexts
    ));
    if let Some(rows) = rows_in_words(plan) {
        line(format!("  rows      {rows}"));
    }
    for ([a, b], difference) in plan.checked_tokenizers() {
        line(format!(
            "  tokens    by the tokenizer of {a}, and by that of {b} to check that texts are cut alike: {difference}"
        ));
    }
    if let Some(sample) = sample_in_words(spec.corpus.sample) {
        line(format!("  sample    {sample}"));
    }
    if let Some(shuffle) = spec.corpus.shuffle {
        line(format!("  shuffle   {shuffle}"));
    }
    if let Some(control) = plan.control() {
        line(format!("  control   {control}"));
    }
    if !spec.controls.is_empty() {
        let names: Vec<&str> = spec.controls.keys().map(String::as_str).collect();
        line(format!("  controls  {}: the same run again for each, behind this one", names.join(", ")));
    }
}

fn say_models(plan: &Outline, line: TakeLine) {
    for (k, m) in plan.models().iter().enumerate() {
        let at = |&hookpoint| Site { model: m.name.clone(), hookpoint, tag: Tag::default() };
        let places: Vec<Site> = m.hookpoints.iter().map(at).chain(m.fed.iter().cloned()).collect();
        match &m.elsewhere {
            Some(Elsewhere::Feed(feed)) => {
                let (feed, places) = (feed.in_words(), in_short(&places));
                line(format!(
                    "  feed      {}: {feed}, {} wide, asked for {places}; its weights cannot be known",
                    m.name, m.shape.d_model
                ));
                continue;
            }
            Some(Elsewhere::Files(stored)) => {
                line(format!("  files     {}: {}", m.name, files_in_words(stored, &in_short(&places))));
                continue;
            }
            None => {}
        }
        line(format!(
            "  forward   {}: {}, {} blocks of {}, {:.1} M parameters{}, read at {}; {} of {} blocks loaded{}",
            m.name,
            m.shape.family,
            m.shape.n_layers,
            m.shape.d_model,
            m.shape.n_parameters as f64 / 1e6,
            m.random_weights.map_or(String::new(), |random| format!(" drawn at random ({random})")),
            in_short(&places),
            plan.blocks_loaded(k),
            m.shape.n_layers,
            Some(m.compute().to_string()).filter(|how| !how.is_empty()).map_or(String::new(), |how| format!("; {how}")),
        ));
    }
}

fn say_spaces(plan: &Outline, line: TakeLine) {
    let spaces = plan.spaces().iter().map(|s| {
        let what = match &s.origin {
            Origin::Sae { sae, .. } => ("encode", "SAEs", sae.in_words()),
            Origin::Fed { most, .. } => {
                let giver = match plan.models()[s.model()].elsewhere.as_ref().and_then(Elsewhere::files) {
                    Some(_) => "files hold",
                    None => "feed gives",
                };
                ("take", "SAEs", format!("{} latents as the {giver} them, at most {most} per token", s.width))
            }
            Origin::Raw { .. } => ("take", "places", format!("{} dimensions as they are", s.width)),
        };
        ((s.site.model.clone(), what), s.site.clone())
    });
    for ((model, (verb, kind, what)), places) in grouped(spaces) {
        let these = format!("{model}/{}{}", in_short(&places), in_number(places.len(), kind));
        line(format!("  {verb:<9} {these}: {what}"));
    }
}

fn say_pairs(plan: &Outline, line: TakeLine) {
    let spec = plan.spec();
    let pairs = plan.pairs().iter().enumerate().map(|(p, pair)| {
        let (a, b) = plan.pair_sites(p);
        let widths = format!("{} x {}", plan.spaces()[pair.source].width, plan.spaces()[pair.target].width);
        let what = match plan.tiles().iter().filter(|t| t.pair == p).count() {
            0 => format!("{widths} dimensions, co-moments"),
            _ if plan.is_sketched() => format!(
                "{widths} latents, sketches of {}, {} candidates each way",
                spec.compare.width, spec.compare.candidates
            ),
            1 => format!("{widths} latents, 1 tile"),
            tiles => format!("{widths} latents, {tiles} tiles"),
        };
        ((a.clone(), b.model.clone(), what), b.clone())
    });
    // places that meet the same places in the same way make one line
    let rows = grouped(pairs).into_iter().map(|((a, model, what), places)| ((a.model.clone(), model, places, what), a));
    for ((source, target, targets, what), sources) in grouped(rows) {
        let n = in_number(sources.len() * targets.len(), "pairs");
        line(format!("  match     {source}/{} x {target}/{}{n}: {what}", in_short(&sources), in_short(&targets)));
    }
}

fn say_scores(plan: &Outline, line: TakeLine) {
    let spec = plan.spec();
    for (step, what, bytes) in steps_beside(plan) {
        line(format!("  {step:<9} {what}; {}", human_bytes(bytes)));
    }
    let (rows, raw) = (&spec.estimate.measures, &spec.estimate.activation_measures);
    let null = &spec.estimate.null;
    for (measures, of, runs) in
        [(rows, "decoder rows", null.permutations), (raw, "activations", null.activation_permutations)]
    {
        if !measures.is_empty() {
            let names: Vec<String> = measures.iter().map(ToString::to_string).collect();
            line(format!("  score     {} of {of}; null of {runs} permutations", names.join(", ")));
        }
    }
}

fn say_budgets(plan: &Outline, line: TakeLine) {
    let spec = plan.spec();
    line(format!(
        "  publish   every {} tokens; checkpoint every {} tokens{}",
        thousands(spec.estimate.snapshot_every),
        thousands(spec.checkpoint.every),
        match spec.checkpoint.minutes {
            0 => String::new(),
            1 => " or each minute".to_string(),
            n => format!(" or {n} minutes"),
        }
    ));
    line(format!("  memory    {} at most:", human_bytes(plan.memory_bytes())));
    for (bytes, what) in plan.costs_by_kind() {
        line(format!("    {:>9}  {what}", human_bytes(bytes)));
    }
    for (device, bytes) in plan.device_bytes() {
        line(format!("  {device:<9} {} of its own memory at most", human_bytes(bytes)));
    }
    if let Some(bytes) = plan.screens_left_out() {
        let bytes = human_bytes(bytes);
        line(format!("    {bytes:>9}  more would let SAEs screen their latents: faster, the same numbers"));
    }
    let controls = if spec.controls.is_empty() { "" } else { ", controls included" };
    line(format!("  disk      {} at most for two checkpoints{controls}", human_bytes(plan.disk_bytes())));
    for assumption in plan.assumptions() {
        line(format!("  assumed   {assumption}"));
    }
}

/// Optional steps for every pair, in addition to matches and scores: name, what is done, bytes of memory at most.
fn steps_beside(plan: &Outline) -> Vec<(&'static str, String, u64)> {
    let mut out = Vec::new();
    let count = |n: usize, one: &str, more: &str| format!("{n} {}", if n == 1 { one } else { more });
    // moments of places are shared
    let mut moments = plan.bytes_of(&["readout moments"]);
    let places = plan.readout_sites();
    if !plan.readouts().is_empty() {
        let latents: usize = plan.readouts().iter().map(|r| plan.spaces()[r.space].width).sum();
        let mut widths: Vec<usize> = plan.readouts().iter().map(|r| places[r.site].width).collect();
        widths.sort_unstable();
        widths.dedup();
        let widths: Vec<String> = widths.iter().map(ToString::to_string).collect();
        let what = format!(
            "{} latents, each out of the activations of the other side, in {} of {} dimensions",
            thousands(latents as u64),
            count(plan.readouts().len(), "reading", "readings"),
            widths.join(", ")
        );
        out.push(("readout", what, plan.bytes_of(&["readout", "reading out"]) + std::mem::take(&mut moments)));
    }
    if !plan.stitches().is_empty() {
        let fit = plan.spec().estimate.map;
        let what = format!(
            "activations of {} into each other; ridge {}, {} units",
            count(plan.stitches().len(), "pair of places", "pairs of places"),
            fit.ridge,
            fit.units.as_str()
        );
        out.push(("maps", what, plan.bytes_of(&["stitch", "maps of one pair"]) + moments));
    }
    if plan.spec().estimate.logits {
        let n = plan.pairs().iter().filter(|p| plan.has_logit_effects(**p)).count();
        let what = format!("what matched decoder rows do to them, of {}", count(n, "pair", "pairs"));
        out.push(("logits", what, plan.bytes_of(&["effects on the logits"])));
    }
    out
}

/// Files and bytes that are here, or that there are none yet.
fn corpus_in_short(plan: &Outline) -> String {
    let (n, missing) = (plan.corpus_files().len(), plan.corpus_missing().len());
    let bytes: u64 = plan.corpus_files().iter().map(|f| f.1).sum();
    match (n, missing) {
        (0, 1..) => "not here, so its size is not known".into(),
        _ => format!(
            "{n} file{}, {}{}",
            if n == 1 { "" } else { "s" },
            human_bytes(bytes),
            if missing > 0 { ", and others that are not here" } else { "" }
        ),
    }
}

/// What a row is, where it is no token.
fn rows_in_words(plan: &Outline) -> Option<String> {
    let RowRule::Spans(contexts, unit) = plan.spec().corpus.rows else { return None };
    let n = plan.models().iter().map(|m| m.view + 1).max().unwrap_or(1);
    let pool = plan.spec().compare.pools();
    let one = |pool: Pool| format!("{pool:?}").to_lowercase();
    let shared = if n == 1 { "tokens of the one tokenizer".to_string() } else { format!("all {n} tokenizers") };
    Some(format!(
        "{} between byte ends that {shared} share; contexts cut {}; of a row's tokens the {} of latents, the {} of activations; counts of \
         tokens below are counts of rows",
        match unit {
            RowUnit::Token => "pieces of text",
            RowUnit::Word => "words (Unicode), each with the white space before it,",
            RowUnit::Sentence => "sentences (Unicode), each with the white space before it,",
            RowUnit::Document => "documents, in pieces",
        },
        match (contexts, unit) {
            (SpanContexts::Common, RowUnit::Token) => "at such ends",
            (SpanContexts::Own, RowUnit::Token) => "by each tokenizer's own tokens",
            (SpanContexts::Common, _) => "before a row that does not fit, at such ends inside a longer one",
            (SpanContexts::Own, _) =>
                "before a row that does not fit, by each tokenizer's own tokens inside a longer one",
        },
        one(pool.latents),
        one(pool.activations)
    ))
}

/// Which documents are read, where not all are.
pub fn sample_in_words(sample: Option<Sample>) -> Option<String> {
    sample.map(|s| format!("{} % of the documents, by seed {}", 100.0 * s.fraction, s.seed))
}

fn in_number(n: usize, kind: &str) -> String {
    if n == 1 { String::new() } else { format!(" ({n} {kind})") }
}

/// Sites of one model without its name, runs of blocks as `resid_post.0 to 11`.
fn in_short(sites: &[Site]) -> String {
    let mut runs: Vec<(&Site, &Site)> = Vec::new();
    let follows = |a: &Site, b: &Site| a.hookpoint.shifted(1) == Some(b.hookpoint) && a.tag == b.tag;
    for place in sites {
        match runs.last_mut() {
            Some((_, last)) if place.tag.is_none() && follows(last, place) => *last = place,
            _ => runs.push((place, place)),
        }
    }
    let run = |(first, last): (&Site, &Site)| match last.hookpoint.layer() {
        Some(_) if first == last => first.place(),
        Some(_) if follows(first, last) => format!("{}, {}", first.place(), last.place()),
        Some(end) => format!("{} to {end}", first.place()),
        None => first.place(),
    };
    runs.into_iter().map(run).collect::<Vec<_>>().join(", ")
}

/// What there is of a model's rows in files.
fn files_in_words(stored: &Stored, places: &str) -> String {
    let Ok((n_files, n_rows)) = stored.sizes() else { return format!("activations at {places}, not here") };
    if n_files == 0 {
        return format!("what {} holds; the tokens there are compared with the corpus'", stored.in_words());
    }
    let ids = match stored.has_ids() {
        Ok(true) => "with ids, which are compared with the corpus'",
        _ => "without ids: nothing shows that they are of this corpus",
    };
    let files = if n_files == 1 { "file" } else { "files" };
    format!("activations at {places} out of {n_files} {files}, {} rows, {ids}", thousands(n_rows))
}

/// The plan for programs.
pub fn as_json(plan: &Outline) -> serde_json::Value {
    json!({
        "name": plan.spec().name,
        "corpus": plan.corpus_files().iter().map(|(p, n)| json!({ "path": p, "bytes": n })).collect::<Vec<_>>(),
        "corpus_missing": plan.corpus_missing(),
        "sample": plan.spec().corpus.sample,
        "checked_tokenizers": plan.checked_tokenizers().iter().map(|(models, difference)| json!({
            "models": models, "difference": difference,
        })).collect::<Vec<_>>(),
        "models": plan.models().iter().enumerate().map(|(k, m)| json!({
            "name": m.name, "family": m.shape.family, "feed": m.elsewhere.as_ref().filter(|e| e.files().is_none()).map(Elsewhere::in_words),
            "files": m.elsewhere.as_ref().filter(|e| e.files().is_some()).map(Elsewhere::in_words),
            "n_layers": Some(m.shape.n_layers).filter(|n| *n < usize::MAX), "d_model": m.shape.d_model,
            "n_layers_loaded": plan.blocks_loaded(k),
            "n_parameters": m.shape.n_parameters,
            "backend": m.compute().backend, "device": m.compute().device, "dtype": m.compute().dtype,
            "hookpoints": m.hookpoints.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "spaces": plan.spaces().iter().map(|s| json!({
            "site": s.site.to_string(), "latents": s.width, "d_in": s.sae().map(|sae| sae.shape.d_in),
            "raw": s.is_raw(),
        })).collect::<Vec<_>>(),
        "pairs": (0..plan.pairs().len()).map(|p| {
            let (a, b) = plan.pair_sites(p);
            json!({ "source": a.to_string(), "target": b.to_string(), "tiles": plan.tiles().iter().filter(|t| t.pair == p).count() })
        }).collect::<Vec<_>>(),
        "steps_beside": steps_beside(plan).into_iter().map(|(step, what, bytes)| json!({
            "step": step, "what": what, "memory_bytes": bytes,
        })).collect::<Vec<_>>(),
        "cross": plan.cross(),
        "costs": plan.costs().iter().map(|c| json!({
            "what": c.what(), "memory_bytes": c.memory_bytes, "disk_bytes": c.disk_bytes,
        })).collect::<Vec<_>>(),
        "assumptions": plan.assumptions(),
        "memory_bytes": plan.memory_bytes(),
        "disk_bytes": plan.disk_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_blocks_are_said_in_short() {
        let of = |names: &[&str]| in_short(&names.iter().map(|n| Site::of("a", n).unwrap()).collect::<Vec<_>>());
        assert_eq!(
            of(&["embed", "resid_post.0", "resid_post.1", "resid_post.2", "resid_post.4"]),
            "embed, resid_post.0 to 2, resid_post.4"
        );
        assert_eq!(
            of(&["resid_post.0", "resid_post.0#x", "resid_post.1", "resid_post.1#x", "resid_post.2#x"]),
            "resid_post.0, resid_post.0#x, resid_post.1, resid_post.1#x, resid_post.2#x"
        );
        assert_eq!(of(&["mlp_out.1", "mlp_out.2", "final_norm"]), "mlp_out.1, mlp_out.2, final_norm");
    }
}
