//! What the page knows: the shapes of its JSON. Columns instead of rows, places in lists instead of repeated texts.

use crate::units::thousands;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// False-discovery rate at which a match counts as above chance.
pub(super) const LEVEL: f64 = 0.05;

/// Everything the page's script reads.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct PageData {
    pub sites: Vec<SiteData>,
    /// Indices into `sites`, source first.
    pub pairs: Vec<[usize; 2]>,
    pub scores: Vec<ScoreData>,
    pub history: HistoryData,
    /// Of each pair: forward, backward.
    pub matches: Vec<[MatchesData; 2]>,
    /// Label fields and their values; sites hold firings in this order.
    pub labels: Vec<LabelData>,
    /// Names of the semantic categories that latents are in.
    pub categories: Texts,
    pub tokens: Texts,
    pub contexts: Texts,
    pub documents: Texts,
    /// A run that is shown with this one.
    pub beside: Option<BesideData>,
    pub facts: Vec<PairFacts>,
    /// Groups of latents over several places; none where the run makes none.
    pub groups: Option<GroupsData>,
    /// The best over all places of each two models; empty where there are none to choose from.
    pub over: Vec<OverData>,
    /// How activations map and decoder rows agree, of each pair; nothing where neither was asked for.
    pub agreement: Vec<Option<AgreementData>>,
    /// Verdicts of reading out, in the order in which they are counted; empty where nothing was read out.
    pub readouts: Vec<&'static str>,
    /// The run's controls and the run itself, by pair; empty where there are no controls.
    pub controls: Vec<ControlData>,
    /// Models whose weights were drawn at random, with their seeds.
    pub control: Option<String>,
    /// What a row has in common with the one it is compared with: token, bigram or position.
    pub given: Option<String>,
    /// What a row is, where it is no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<String>,
    /// Warnings about the corpus: repeated contexts, too little text.
    pub warnings: Vec<String>,
    /// Null runs from which their standard deviation is shown.
    pub least_runs: u32,
    /// The pair and the score that are shown first, and the rule by which that pair is the closest.
    pub first_pair: usize,
    pub closest_rule: Option<&'static str>,
    pub first_score: Option<[String; 3]>,
    /// r given the token from which a match is called one beyond it.
    pub holds: f64,
    /// Share of one latent's firings from which it is called a part of the other.
    pub contained: f64,
    /// Width of a bin of the histograms of correlations, which begin at −1.
    pub bin: f64,
}

/// What is known of a pair as a whole.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct PairFacts {
    /// Both sides are read through one SAE.
    pub one_decoder: bool,
    /// Latents whose best partner is themselves, where both sides are one SAE, and by chance.
    pub own: Option<u64>,
    pub own_null: Option<u64>,
    /// Why there is too little text, and why there is no chance level.
    pub too_few: Option<String>,
    pub no_chance: Option<String>,
}

/// A pair of the run or of a control of it; each figure with its chance.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct ControlData {
    pub pair: usize,
    /// Name of the control; none of the run itself.
    pub name: Option<String>,
    /// What is random in it.
    pub what: Option<String>,
    pub tokens: u64,
    /// Living latents of the source and of the target.
    pub alive: [u64; 2],
    pub mean: [Option<f64>; 2],
    pub mutual: [Option<u64>; 2],
    pub above: [Option<u64>; 2],
    /// Mutual matches that hold given the token; `None` where r given the token is known of none.
    pub given: Option<[u64; 2]>,
    pub kept: [Option<u64>; 2],
    /// Of decoder rows and of activations, by the measure that is farthest above its null in the run itself: measure, pairing, value, mean of the null.
    pub scores: [Option<(String, &'static str, Option<f64>, Option<f64>)>; 2],
}

/// The best over all places of two models; each count with the same by chance.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct OverData {
    pub models: [String; 2],
    pub places: [u32; 2],
    /// Latents of the one and of the other whose best partner is above chance.
    pub above: [[Option<u64>; 2]; 2],
    /// Latents that have a best partner.
    pub of: [u64; 2],
    pub mutual: [Option<u64>; 2],
    pub mutual_above: [Option<u64>; 2],
    /// Mean r of the one's latents with their best partners.
    pub mean: [Option<f64>; 2],
    /// The closest places by each score: measure, pairing, pair in words, value, mean of the null, pairs that compete, p.
    pub closest: Vec<(String, &'static str, String, Option<f64>, Option<f64>, u32, Option<f64>)>,
}

/// Maps between the places of a pair, and how decoder rows of its kept matches agree.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct AgreementData {
    /// Kind, direction (0: source into target), R², R² by chance.
    pub maps: Vec<(&'static str, u8, Option<f64>, Option<f64>)>,
    /// Units of the maps; none without them.
    pub units: Option<&'static str>,
    /// Under the map: mean cosine, the same by chance, its 95 % point, share of the matches above it.
    pub mapped: Option<[Option<f64>; 4]>,
    /// The same of what they do to the logits.
    pub logits: Option<[Option<f64>; 4]>,
}

/// Verdicts of one side's latents: counts of each, how many have none, and what chance gives: of the last three verdicts, to latents without a strong match.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct VerdictsData {
    pub here: [u64; 5],
    pub unknown: u64,
    pub by_chance: [Option<u64>; 5],
}

/// Groups of latents over several places.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct GroupsData {
    /// What `sizes` counts: models, or places of one model.
    pub what: &'static str,
    /// Models of a group, and how many groups have so many; the same by chance; those that are complete; the same by chance.
    pub sizes: Vec<(u32, u64, Option<u64>, u64, Option<u64>)>,
    /// Share of latents to which best partners over three places lead back, and by chance.
    pub returned: Option<(f64, Option<f64>)>,
    /// Groups in all, and the first of them.
    pub total: u64,
    pub shown: Vec<GroupData>,
}

/// A group.
#[derive(Clone, Debug, Serialize)]
pub(super) struct GroupData {
    pub kind: &'static str,
    pub models: u32,
    pub edges: u32,
    pub possible: u32,
    pub min: f64,
    pub mean: f64,
    /// Lowest r given the token.
    pub within: Option<f64>,
    /// Index into `sites`, latent, whether it stands for its model, share of rows on which it fired, strongest tokens.
    pub members: Vec<(usize, u32, bool, f64, Vec<u32>)>,
    /// Model, its closest latent with its correlation, and the highest R² at which a member is read out of it.
    pub missing: Vec<(String, Option<(String, f64)>, Option<f64>)>,
}

/// A place and its latents.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct SiteData {
    pub model: String,
    pub hookpoint: String,
    /// Number of latents, and number of latents that fired.
    pub width: u64,
    pub alive: u64,
    /// The latents that are shown, ascending, and of each:
    pub latent: Vec<u32>,
    /// tokens on which it fired,
    pub n_active: Vec<u64>,
    /// its largest activation,
    pub max: Vec<Option<f64>>,
    /// firings per value of each label field, only where any are,
    pub labels: Vec<Vec<u64>>,
    /// the categories it is in,
    pub categories: Vec<Vec<u32>>,
    /// up to five different top-activating tokens,
    pub tokens: Vec<Vec<u32>>,
    /// its strongest firings.
    pub top: Vec<Vec<TopData>>,
    pub map: Option<MapData>,
    /// Why there is no map.
    pub no_map: Option<String>,
}

/// Context, document, activation, and the token's start and end in the context, in UTF-16 units; the start is −1 when
/// unknown.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TopData(pub u32, pub u32, pub f64, pub i64, pub i64);

/// Decoder directions in the plane, on a grid of 1000 by 1000.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct MapData {
    pub latent: Vec<u32>,
    pub x: Vec<u16>,
    pub y: Vec<u16>,
}

/// One score with its null.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ScoreData {
    pub pair: usize,
    pub subset: String,
    pub pairing: &'static str,
    pub measure: String,
    pub value: Option<f64>,
    pub null_mean: Option<f64>,
    pub null_sd: Option<f64>,
    pub null_runs: u32,
    pub p: Option<f64>,
    pub q: Option<f64>,
    pub n: u64,
    pub no_power: bool,
    /// Both sides are decoder rows of one SAE.
    pub one_decoder: bool,
}

/// What is shown of the other run: of each pair of this run that it has too, and its scores with this run's pair numbers.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct BesideData {
    pub name: String,
    /// Tokens of its newest snapshot.
    pub tokens: Option<u64>,
    /// Whether something was drawn at random in it, as a control.
    pub control: bool,
    pub matches: Vec<Option<BesideMatches>>,
    pub scores: Vec<ScoreData>,
}

/// Best matches of a pair in the other run: forward, backward.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct BesideMatches {
    pub mean: [Option<f64>; 2],
    pub null_mean: [Option<f64>; 2],
    pub histogram: [Histogram; 2],
    /// Mutual matches, and by chance.
    pub n_mutual: [Option<f64>; 2],
    /// Those above both chance points, and by chance.
    pub n_mutual_above_chance: [Option<f64>; 2],
}

/// How everything moved while tokens streamed past: of each series, per pair, a value per snapshot.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct HistoryData {
    pub tokens: Vec<u64>,
    pub series: BTreeMap<String, Vec<Vec<Option<f64>>>>,
}

/// Best matches of one direction of a pair.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct MatchesData {
    /// Number of latents that pick, and number of those that have a partner.
    pub total: u64,
    pub matched: u64,
    /// How many were kept and why the others were not.
    pub verdicts: BTreeMap<String, u64>,
    /// Mean best correlation, and mean of the null's.
    pub mean: Option<f64>,
    pub null_mean: Option<f64>,
    /// The same, unrounded.
    #[serde(skip)]
    pub exact_means: [Option<f64>; 2],
    /// Matches whose q-value is at most 0.05; `None` without q-values.
    pub significant: Option<u64>,
    pub histogram: Histogram,
    pub null_histogram: Option<Histogram>,
    /// The matches that are shown, kept ones first, by falling correlation.
    pub source: Vec<u32>,
    pub target: Vec<u32>,
    pub r: Vec<f64>,
    /// Distance to the second best.
    pub margin: Vec<Option<f64>>,
    pub null: Vec<Option<f64>>,
    /// 95 % point of the chance levels of latents that fire about as often.
    pub point: Vec<Option<f64>>,
    pub q: Vec<Option<f64>>,
    /// What the token alone gives, and what is left given the token; of listed partners.
    pub token: Vec<Option<f64>>,
    pub within: Vec<Option<f64>>,
    /// The same by chance.
    pub within_null: Vec<Option<f64>>,
    /// Rows on which both fire over rows on which one does.
    pub jaccard: Vec<Option<f64>>,
    /// Share of the source's firings on which the target fires, and the other way round.
    pub shares: [Vec<Option<f64>>; 2],
    /// Standard error of r over groups of documents.
    pub error: Vec<Option<f64>>,
    /// Cosine of the two decoder rows under the map, and correlation of what they do to the logits; empty where there are none.
    pub mapped: Vec<Option<f64>>,
    pub logits: Vec<Option<f64>>,
    /// R² of the picking latent read out of the other side's activations, its chance point, and index into `readouts` (−1: none); empty where
    /// nothing was read out.
    pub readout: Vec<Option<f64>>,
    pub readout_point: Vec<Option<f64>>,
    pub readable: Vec<i8>,
    /// Verdicts of all latents that pick.
    pub readout_counts: Option<VerdictsData>,
    /// 1 where the picked latent picks back.
    pub mutual: Vec<u8>,
    /// Index into `reasons`, −1 where kept.
    pub dropped: Vec<i32>,
    pub reasons: Vec<String>,
}

/// Counts from bin `first` on.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Histogram {
    pub first: usize,
    pub counts: Vec<u64>,
}

/// A label field.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct LabelData {
    pub field: String,
    pub values: Vec<String>,
}

/// Texts, each once, in order of first appearance.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    all: Vec<String>,
    index: HashMap<String, u32>,
}

impl Texts {
    /// The number of `text`.
    pub fn number(&mut self, text: &str) -> u32 {
        if let Some(&k) = self.index.get(text) {
            return k;
        }
        let k = self.all.len() as u32;
        self.all.push(text.to_string());
        self.index.insert(text.to_string(), k);
        k
    }
}

impl Serialize for Texts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.all.serialize(serializer)
    }
}

/// Width of a bin; correlations go from −1 to 1.
pub(super) const BIN: f64 = 0.02;

/// Counts correlations.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    counts: [u64; 100],
    sum: f64,
    n: u64,
}

impl Default for Counter {
    fn default() -> Self {
        Counter { counts: [0; 100], sum: 0.0, n: 0 }
    }
}

impl Counter {
    pub fn add(&mut self, r: f64) {
        // the small part keeps 0.3, which is 65 bins less a hair, in the bin that it begins
        let bin = ((r + 1.0) / BIN + 1e-9).floor().clamp(0.0, 99.0) as usize;
        self.counts[bin] += 1;
        self.sum += r;
        self.n += 1;
    }

    pub fn n(&self) -> u64 {
        self.n
    }

    /// `None` where nothing was counted.
    pub fn mean(&self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / self.n as f64)
    }

    /// Without the empty bins at both ends.
    pub fn histogram(&self) -> Histogram {
        let first = self.counts.iter().position(|c| *c > 0).unwrap_or(0);
        let last = self.counts.iter().rposition(|c| *c > 0).map_or(first, |k| k + 1);
        Histogram { first, counts: self.counts[first..last].to_vec() }
    }
}

/// `1 234 567` that no line breaks.
pub(super) fn count(n: u64) -> String {
    thousands(n).replace(' ', "\u{202f}")
}

/// Rounded to so many digits behind the point.
pub(super) fn digits(x: f64, n: i32) -> f64 {
    let scale = 10f64.powi(n);
    let rounded = (x * scale).round() / scale;
    // -0.0 would print a sign
    if rounded == 0.0 { 0.0 } else { rounded }
}

/// Rounded to so many digits in all.
pub(super) fn significant(x: f64, n: i32) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return 0.0;
    }
    let magnitude = x.abs().log10().floor() as i32;
    // past the powers of ten that f64 divides by exactly the plain value is good enough
    if magnitude.abs() > 12 { x } else { digits(x, n - 1 - magnitude) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlations_fall_into_their_bins() {
        let mut counter = Counter::default();
        [-1.0, 0.3, 0.31, 0.32, 1.0].into_iter().for_each(|r| counter.add(r));
        let all = counter.histogram();
        assert_eq!((all.first, all.counts.len(), all.counts.iter().sum::<u64>()), (0, 100, 5));
        assert_eq!(all.counts[65..67], [2, 1]);
        let mut counter = Counter::default();
        counter.add(0.5);
        assert_eq!(counter.histogram(), Histogram { first: 75, counts: vec![1] });
        assert_eq!(Counter::default().histogram(), Histogram { first: 0, counts: vec![] });
        assert_eq!(Counter::default().mean(), None);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(digits(-0.00001, 4).to_string(), "0");
        assert_eq!(digits(0.123_456, 4), 0.1235);
        assert_eq!(significant(0.000_123_456, 3), 0.000_123);
        assert_eq!(significant(123_456.0, 3), 123_000.0);
        assert_eq!(significant(0.0, 3), 0.0);
    }
}
