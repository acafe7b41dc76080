//! What do the measured configurations of an SAE show? Which is clearly better, and a verdict in words.

use crate::ids::{Hookpoint, Site};
use serde::Serialize;

/// Another configuration is clearly better when its FVU is below this part of the declared one's …
pub const CLEARLY_BELOW: f64 = 0.8;
/// … and lower by at least this much: two configurations that both explain nearly everything count as equal …
pub const CLEARLY_LOWER_BY: f64 = 0.02;
/// … and at most this: an SAE that explains little anywhere, an untrained one above all, shows nothing about where it belongs.
/// Another scale counts only when the declared one explains less than this. With a threshold, a larger input makes more latents
/// active, and more latents explain more, whatever the SAE was trained on.
pub const EXPLAINS: f64 = 0.7;

/// What one way of reading an SAE gives.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Configuration {
    /// Where the input is taken.
    pub hookpoint: Hookpoint,
    /// Whether the decoder bias is taken from the input.
    pub subtract_b_dec: bool,
    /// What the input is multiplied by.
    pub scale: f64,
    /// Whether the mean over dimensions is taken off each row of the input first.
    pub center: bool,
    /// Whether the dataflow file declares it.
    pub declared: bool,
    /// Fraction of variance unexplained, 0 or more; `None` where there is no variance.
    pub fvu: Option<f64>,
    /// Mean number of latents that fire on a token.
    pub l0: f64,
    /// Share of latents that fired on no token, in [0, 1].
    pub dead_share: f64,
}

/// All readings of one SAE.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    /// Its place in the dataflow file.
    #[serde(serialize_with = "as_text")]
    pub site: Site,
    /// Tokens read.
    pub n_tokens: u64,
    /// Whether it is a control: the model's weights, the SAE or the order of tokens are random, which no SAE was trained on.
    pub control: bool,
    /// Whether the SAE itself is drawn at random: measured and not judged.
    pub random: bool,
    /// Whether the dataflow file insists on this SAE whatever its FVU (`insist = ["fvu"]`).
    pub any_fvu: bool,
    /// Contradictions with the SAE's own files, a sentence each.
    pub contradictions: Vec<String>,
    /// The declared configuration first, then one change at a time; empty when the SAE's target is not known.
    pub readings: Vec<Configuration>,
}

fn as_text<S: serde::Serializer>(site: &Site, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.collect_str(site)
}

/// What is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict<'a> {
    /// It is not known what this transcoder predicts.
    NotChecked,
    /// What is predicted has no variance over these tokens.
    NoVariance,
    /// The declared configuration is the best one, or no other is clearly better.
    Fits,
    /// The same, but it explains little: an FVU above [`EXPLAINS`].
    ExplainsLittle,
    /// Another configuration is clearly better.
    Better(&'a Configuration),
    /// It reconstructs no better than the mean: an FVU of 1 or more.
    WorseThanMean,
    /// The same in a control, or any FVU of a random SAE.
    Control,
}

impl Diagnosis {
    /// The reading that the dataflow file declares; `None` where nothing could be checked.
    pub fn declared(&self) -> Option<&Configuration> {
        self.readings.iter().find(|r| r.declared)
    }

    /// The configuration that is clearly better than the declared one: the lowest FVU, the first of equals, when it is below
    /// [`CLEARLY_BELOW`] of the declared FVU, lower by at least [`CLEARLY_LOWER_BY`], and at most [`EXPLAINS`].
    pub fn better(&self) -> Option<&Configuration> {
        let declared = self.declared()?;
        let fvu = declared.fvu?;
        let counts = |r: &&Configuration| r.scale == declared.scale || fvu > EXPLAINS;
        let best = (self.readings.iter().filter(counts).filter_map(|r| Some((r, r.fvu?))))
            .reduce(|best, next| if next.1 < best.1 { next } else { best })?;
        let clearly = best.1 < CLEARLY_BELOW * fvu && fvu - best.1 >= CLEARLY_LOWER_BY;
        (clearly && best.1 <= EXPLAINS).then_some(best.0)
    }

    /// What is found.
    pub fn verdict(&self) -> Verdict<'_> {
        let Some(declared) = self.declared() else { return Verdict::NotChecked };
        if self.random && declared.fvu.is_some() {
            return Verdict::Control;
        }
        match (declared.fvu, self.better()) {
            (None, _) => Verdict::NoVariance,
            (_, Some(better)) => Verdict::Better(better),
            (Some(fvu), None) if fvu >= 1.0 => {
                if self.control {
                    Verdict::Control
                } else {
                    Verdict::WorseThanMean
                }
            }
            (Some(fvu), None) if fvu > EXPLAINS => Verdict::ExplainsLittle,
            _ => Verdict::Fits,
        }
    }

    /// Whether a run does not start with it: a clearly better configuration, or an FVU of 1 or more without `insist`.
    pub fn is_wrong(&self) -> bool {
        match self.verdict() {
            Verdict::Better(_) => true,
            Verdict::WorseThanMean => !self.any_fvu,
            _ => false,
        }
    }

    /// The verdict in words, without the SAE's name; what to write where there is something to write.
    pub fn in_words(&self) -> String {
        let fvu = |r: Option<&Configuration>| r.and_then(|r| r.fvu).map_or("-".into(), |f| format!("{f:.3}"));
        let declared = fvu(self.declared());
        match self.verdict() {
            Verdict::NotChecked => "not checked: it is not known what this transcoder predicts".into(),
            Verdict::NoVariance => "not checked: what it predicts does not vary over these tokens".into(),
            Verdict::Fits => format!("reads best as declared: FVU {declared}"),
            Verdict::ExplainsLittle if self.control => format!("explains little, as a control does: FVU {declared}"),
            Verdict::ExplainsLittle => {
                format!("explains little: FVU {declared}, and no other configuration that was tried is clearly better")
            }
            Verdict::Better(better) => {
                let (how, write) = self.change(better);
                format!("reads better {how}: FVU {} against {declared}; write {write}", fvu(Some(better)))
            }
            Verdict::WorseThanMean => format!(
                "reconstructs worse than the mean: FVU {declared}, and no reading that was tried is right; it is mis-scaled, of \
                 another model, or untrained"
            ),
            Verdict::Control if self.random => {
                format!("is drawn at random, as a control, and not judged: FVU {declared}")
            }
            Verdict::Control => {
                format!("reconstructs worse than the mean, as is expected of a control: FVU {declared}")
            }
        }
    }

    /// How a reading differs from the declared one, and what to write for it.
    fn change(&self, other: &Configuration) -> (String, String) {
        let declared = self.declared().expect("a better reading is better than the declared one");
        let mut keys = Vec::new();
        if other.subtract_b_dec != declared.subtract_b_dec {
            keys.push(format!("subtract_b_dec = {}", other.subtract_b_dec));
        }
        if other.scale != declared.scale {
            keys.push(format!("scale = {}", rounded(other.scale)));
        }
        if other.center != declared.center {
            keys.push(format!("center = {}", other.center));
        }
        let keys = keys.join(" and ");
        if other.hookpoint == declared.hookpoint {
            return (format!("with {keys}"), keys);
        }
        let site = format!("[saes.\"{}/{}{}\"]", self.site.model, other.hookpoint, self.site.tag);
        let and = if keys.is_empty() { String::new() } else { format!(" with {keys}") };
        (format!("at {}{and}", other.hookpoint), format!("{site}{and}"))
    }
}

/// Four digits are more than an estimate is good for.
pub fn rounded(scale: f64) -> String {
    let digits = (3 - scale.abs().log10().floor() as i32).clamp(0, 12) as usize;
    let text = format!("{scale:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

#[cfg(test)]
mod tests;
