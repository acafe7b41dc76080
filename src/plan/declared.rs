//! Do the files of an SAE, and the registry of published SAEs, agree with the dataflow file?
//!
//! A contradiction in hookpoint, scale or centring is refused, unless the SAE's `insist` names the fact. A contradiction in
//! model or contexts, and a fact that cannot be checked, give a warning. `sae/recipe.rs` checks sizes against the weights. No file
//! is read here: facts in, a [`Reading`](crate::sae::Reading) out.

use crate::corpus::{BosRule, CorpusOptions};
use crate::hub::registry::Facts;
use crate::ids::{Hookpoint, Site, resolve};
use crate::model::ModelShape;
use crate::sae::{Place, Reading, SaeShape, Scale};
use crate::spec::{Insist, SaeSpec};
use serde_json::Value;

/// Where facts come from that an SAE's own files do not have.
const REGISTRY: &str = "SAELens' registry";

/// Two factors are one when they differ by at most this share: registries write them with fewer digits than files.
const SAME_FACTOR: f64 = 1e-3;

/// All that is known before anything is read.
pub(super) struct Asked<'a> {
    pub site: &'a Site,
    pub spec: &'a SaeSpec,
    /// From the SAE's headers; of an SAE that is not here, nothing is declared.
    pub sae: &'a SaeShape,
    pub facts: Option<&'a Facts>,
    pub model: &'a ModelShape,
    /// What the model is called: by its repository, its configuration, its folder.
    pub model_names: &'a [String],
    pub corpus: &'a CorpusOptions,
}

/// How it is read, with the notes on that.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub reading: Reading,
    /// What it predicts, where its files say so and it is another place.
    pub output: Option<Hookpoint>,
    /// Statements that contradict the dataflow file, a sentence each.
    pub contradictions: Vec<String>,
    /// What is worth reporting, a sentence each.
    pub warnings: Vec<String>,
}

/// Holds everything together. `base` is the reading with which the headers were read.
pub(super) fn settle(asked: &Asked, base: Reading) -> Settled {
    let mut settled = Settled { reading: base, ..Settled::default() };
    asked.hookpoint(&mut settled);
    asked.scale(&mut settled);
    asked.center(&mut settled);
    asked.processing(&mut settled);
    asked.training(&mut settled);
    settled
}

/// One place for the two names of what lies between two blocks, and, without learned positions, of what enters the first.
fn same_place(a: Hookpoint, b: Hookpoint, family: &str) -> bool {
    let no_positions = || resolve("hook_embed", family).is_ok_and(|h| h == Hookpoint::Embed);
    let plain = |h: Hookpoint| match h {
        Hookpoint::ResidPre(0) => Hookpoint::Embed,
        Hookpoint::TokenEmbed if no_positions() => Hookpoint::Embed,
        Hookpoint::ResidPre(l) => Hookpoint::ResidPost(l - 1),
        other => other,
    };
    plain(a) == plain(b)
}

/// Whether what is read there is added to the residual stream, or is that stream: what centred weights write.
pub fn is_written(hookpoint: Hookpoint) -> bool {
    use Hookpoint::*;
    matches!(hookpoint, TokenEmbed | Embed | ResidPre(_) | ResidMid(_) | ResidPost(_) | AttnOut(_) | MlpOut(_))
}

impl Asked<'_> {
    fn insists(&self, on: Insist) -> bool {
        self.spec.insist.contains(&on)
    }

    /// The declared hookpoints, each with its origin.
    fn places(&self) -> Vec<(&'static str, Place)> {
        let of_file = self.sae.declared.input.clone().map(|place| ("its files", place));
        let of_registry = self.facts.and_then(|f| f.hook.as_deref()).map(|hook| (REGISTRY, Place::named(hook)));
        of_file.into_iter().chain(of_registry).collect()
    }

    fn hookpoint(&self, out: &mut Settled) {
        let (site, family) = (self.site, &self.model.names());
        if let Some(head) = self.sae.declared.head {
            out.contradictions.push(format!(
                "its files say that it reads attention head {head} alone (hook_head_index), a part of {}; SAEs of one head are not \
                 read",
                site.hookpoint
            ));
        }
        let mut known: Option<Hookpoint> = None;
        for (who, place) in self.places() {
            match place.hookpoint(family) {
                Ok(hookpoint) if known.is_some_and(|k| !same_place(k, hookpoint, family)) => out.warnings.push(format!(
                    "{who} gives {}, its files another place; the files are believed",
                    in_words(&place, hookpoint)
                )),
                Ok(hookpoint) => {
                    if known.is_none() && !same_place(hookpoint, site.hookpoint, family) && !self.insists(Insist::Hookpoint) {
                        out.contradictions.push(format!(
                            "{who} {} {}, the dataflow file puts it at {}; write [saes.\"{}/{hookpoint}\"], or insist = \
                             [\"hookpoint\"]",
                            verb(who),
                            in_words(&place, hookpoint),
                            site.hookpoint,
                            site.model
                        ));
                    }
                    known = known.or(Some(hookpoint));
                }
                Err(_) if known.is_some() || self.insists(Insist::Hookpoint) => {}
                Err(e) => out.warnings.push(format!(
                    "{who} {} {:?}, which is not a hookpoint known in a {family} model ({e}); whether it belongs at {} is not \
                     checked",
                    verb(who),
                    place.written,
                    site.hookpoint
                )),
            }
        }
        if !self.sae.transcoder {
            return;
        }
        let of_registry = || self.facts.and_then(|f| f.hook_out.clone()).map(Place::named);
        match self.sae.declared.output.clone().or_else(of_registry).map(|place| (place.hookpoint(family), place)) {
            Some((Ok(hookpoint), _)) => out.output = Some(hookpoint),
            Some((Err(e), place)) => out.warnings.push(format!(
                "its files name {:?} as what it predicts, which is not a hookpoint known in a {family} model ({e})",
                place.written
            )),
            None => {}
        }
    }

    fn scale(&self, out: &mut Settled) {
        if self.spec.random.is_some() {
            // a random SAE takes no factor, which would multiply all its latents alike
            return;
        }
        let key = self.spec.scale;
        let registered = self.facts.and_then(|f| f.scale);
        let differs = |a: f64, b: f64| (a / b - 1.0).abs() > SAME_FACTOR;
        let contradiction = |who: &str, said: f64, key: f64| {
            format!(
                "{who} the factor {said} before the SAE, the dataflow file says scale = {key}; take the key out, or insist = \
                 [\"scale\"]"
            )
        };
        out.reading.scale = key;
        match (self.sae.declared.scale, registered) {
            (Scale::Factor(own), _) => {
                if let Some(key) = key.filter(|&key| differs(key, own) && !self.insists(Insist::Scale)) {
                    out.contradictions.push(contradiction("its files hold", own, key));
                }
                if let Some(registered) = registered.filter(|&r| differs(r, own)) {
                    out.warnings.push(format!(
                        "its files hold the factor {own}, {} gives {registered}; the files are believed",
                        REGISTRY
                    ));
                }
            }
            (Scale::Missing, Some(registered)) => {
                if let Some(key) = key.filter(|&key| differs(key, registered) && !self.insists(Insist::Scale)) {
                    out.contradictions.push(contradiction(&format!("{} gives", REGISTRY), registered, key));
                }
                out.reading.scale = Some(key.unwrap_or(registered));
            }
            (Scale::Missing, None) if key.is_none() => out.contradictions.push(
                "it was trained on activations times one factor (normalize_activations = \"expected_average_only_in\"), which its \
                 files do not hold; write scale = FACTOR (`cognate doctor` estimates it), or scale = 1 where the factor was folded \
                 into the weights"
                    .to_string(),
            ),
            (Scale::Unsaid, Some(registered)) if key.is_none() => out.warnings.push(format!(
                "{} gives the factor {registered}, but its files do not ask for one; it is not applied (scale = {registered} \
                 applies it)",
                REGISTRY
            )),
            _ => {}
        }
    }

    /// What TransformerLens' `center_writing_weights` does to the hooked activation: with LayerNorm, what is written to the
    /// residual stream loses its mean over dimensions; with RMSNorm, and at other places, nothing changes.
    fn center(&self, out: &mut Settled) {
        let said = self.sae.declared.centers();
        let applies = self.model.layer_norm && is_written(self.site.hookpoint);
        out.reading.center = self.spec.center.unwrap_or(said == Some(true) && applies);
        if let (Some(key), Some(said), true) = (self.spec.center, said, applies)
            && key != said
            && !self.insists(Insist::Center)
        {
            out.contradictions.push(format!(
                "its files say center_writing_weights = {said}, the dataflow file says center = {key}; take the key out, or insist \
                 = [\"center\"]"
            ));
        }
    }

    /// The other ways in which the model's weights may have been processed.
    fn processing(&self, out: &mut Settled) {
        let hookpoint = self.site.hookpoint;
        for (key, value) in &self.sae.declared.processing {
            let on = *value == Value::Bool(true);
            let what = match key.as_str() {
                "center_writing_weights" | "center_unembed" => continue,
                "fold_ln" if on && matches!(hookpoint, Hookpoint::MlpIn(_) | Hookpoint::FinalNorm) => {
                    "it read the norm's output before the norm's weight and bias"
                }
                "fold_value_biases" if on && matches!(hookpoint, Hookpoint::AttnZ(_)) => {
                    "it read the heads' output without the bias of their values"
                }
                "refactor_factored_attn_matrices" if on && matches!(hookpoint, Hookpoint::AttnZ(_)) => {
                    "it read the heads' output in another basis"
                }
                "fold_ln" | "fold_value_biases" | "refactor_factored_attn_matrices" => continue,
                "revision" | "checkpoint_index" | "checkpoint_value" | "checkpoint_label" if !value.is_null() => {
                    "check that the model is of that checkpoint"
                }
                _ if value.is_null() || HARMLESS.contains(&key.as_str()) => continue,
                _ => "what it changes is not known",
            };
            out.warnings.push(format!(
                "its files say that the model was loaded with {key} = {value}, which is not honoured: {what}"
            ));
        }
    }

    /// Model and contexts that it was trained on.
    fn training(&self, out: &mut Settled) {
        let declared = &self.sae.declared;
        let model = declared.model.as_deref().or(self.facts.map(|f| f.model.as_str()));
        if let Some(model) = model.filter(|m| !self.model_names.iter().any(|name| plain_name(name) == plain_name(m))) {
            out.warnings.push(format!(
                "it was trained on {model:?}, model {:?} is {}; check that it is the same",
                self.site.model,
                self.model_names.first().map_or("of another name".into(), |name| format!("{name:?}"))
            ));
        }
        let corpus = self.corpus;
        if let Some(size) = declared.context_size.filter(|&size| size != corpus.context_length) {
            let more = if size < corpus.context_length { ", and later positions are new to it" } else { "" };
            out.warnings.push(format!(
                "it was trained on contexts of {size} tokens, corpus.context_length is {}{more}",
                corpus.context_length
            ));
        }
        if let Some(bos) = declared.prepend_bos.filter(|&bos| bos != (corpus.bos == BosRule::Context)) {
            out.warnings.push(format!(
                "it was trained on contexts {} BOS (prepend_bos = {bos}), corpus.bos is {:?}",
                if bos { "that begin with" } else { "without" },
                corpus.bos.name()
            ));
        }
        if declared.excludes_special == Some(true) && corpus.count_special {
            out.warnings.push(
                "it was trained without the rows of special tokens (exclude_special_tokens), corpus.count_special is true"
                    .to_string(),
            );
        }
        if let Some(positions) = &declared.positions {
            out.warnings.push(format!(
                "it was trained on positions {positions} of a context alone (seqpos_slice); here all positions are read"
            ));
        }
    }
}

/// Keys of `model_from_pretrained_kwargs` that change no activation, but for rounding.
const HARMLESS: [&str; 17] = [
    "attn_implementation",
    "cache_dir",
    "default_padding_side",
    "default_prepend_bos",
    "device",
    "device_map",
    "dtype",
    "first_n_layers",
    "hf_model",
    "local_files_only",
    "low_cpu_mem_usage",
    "move_to_device",
    "n_ctx",
    "n_devices",
    "token",
    "torch_dtype",
    "trust_remote_code",
];

fn verb(who: &str) -> &'static str {
    if who == REGISTRY { "names" } else { "name" }
}

/// `blocks.1.hook_resid_pre, which is resid_post.0`; the second part where it differs.
fn in_words(place: &Place, hookpoint: Hookpoint) -> String {
    let plain = match hookpoint {
        Hookpoint::ResidPre(l) if l > 0 => Hookpoint::ResidPost(l - 1),
        other => other,
    };
    if place.written == plain.to_string() {
        place.written.clone()
    } else {
        format!("{}, which is {plain}", place.written)
    }
}

/// A model's name without its owner, in the form in which TransformerLens', the hub's and Gemma Scope's agree.
fn plain_name(name: &str) -> String {
    let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let last = last.trim_start_matches("meta-").replace('_', "-").replace("gemma-v3", "gemma-3");
    match last.as_str() {
        "gpt2-small" => "gpt2".into(),
        "mistral-7b" => "mistral-7b-v0.1".into(),
        "gemma-3-270m-pt" => "gemma-3-270m".into(),
        _ => last.trim_end_matches(".gguf").to_string(),
    }
}

#[cfg(test)]
mod tests;
