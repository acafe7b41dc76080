//! What is held, in bytes: the parts of a plan, whichever way it is done, and their sum.

use crate::corpus::tokenizing_bytes;
use crate::device::BackendName;
use crate::matching::{OneToOne, TRANSPORT_POOL, choosing_bytes};
use crate::moments::{
    Accumulator, CrossCoMoment, FoldCross, FoldMoments, LatentSums, PairSums, Profiles, ReadoutSums, SeenContexts,
    SiteMoments, Sketch, tile_rows,
};
use crate::plan::choice::Choice;
use crate::plan::steps::Steps;
use crate::plan::{Cost, Origin, Pair, PlannedSae, RawPair, Space};
use crate::similarity::{DENSE_ROWS, Measure, rsa_bytes};
use crate::spec::DoctorRule;

/// Things with the same key, in order of the first of each; neighbours or not.
pub fn grouped<K: PartialEq, V>(things: impl Iterator<Item = (K, V)>) -> Vec<(K, Vec<V>)> {
    let mut out: Vec<(K, Vec<V>)> = Vec::new();
    for (key, value) in things {
        match out.iter_mut().find(|(k, _)| *k == key) {
            Some((_, values)) => values.push(value),
            None => out.push((key, vec![value])),
        }
    }
    out
}

/// Bytes of memory at most.
pub(super) fn memory_of(costs: &[Cost]) -> u64 {
    costs.iter().fold(0, |sum: u64, c| sum.saturating_add(c.memory_bytes))
}

/// Bytes for each row of the match views: their arrangements, twice over while old and new rows are brought together, and
/// the publisher's own copy (measured: 2900 on the demo after twenty snapshots).
const VIEW_ROW_BYTES: u64 = 3000;

/// The same when one worker holds all of a pair and only first choices are arranged; then the bytes per latent
/// (measured on six pairs of 8192 latents after ten snapshots, one and five partners kept: 470 per row, 120 per
/// latent).
const WHOLE_VIEW_BYTES: [u64; 2] = [600, 300];

/// Batches that may wait encoded with one worker; `--workers` and `--in-flight` add theirs.
const BATCHES_IN_THE_AIR: u64 = 3;

/// What the process holds before it holds anything of the run's (measured: 48 MiB), and some room.
const PROGRAM_BYTES: u64 = 64 << 20;
/// Of that room, what reading and tokenizing may take.
const ROOM_BYTES: u64 = 8 << 20;

/// What a tokenizer holds for each token of its vocabulary: the token twice, in maps by text and by id, and a merge (measured: 435 with a
/// vocabulary of 120 000).
const TOKEN_BYTES: u64 = 500;

/// Matrices of the wider place's width that maps of a pair take at a run's end: its sums, ten fits at once, the maps themselves.
const MAP_MATRICES: u64 = 72;

/// Matrices of the stream's width while co-moments of two heads are made: blocks at once, three each, and their rows.
const LOGIT_MATRICES: u64 = 24;

/// What scoring the matched rows of a pair holds, if all latents of the narrower side are matched.
fn rows_bytes(steps: &Steps, pair: &Pair) -> u64 {
    let sides = [pair.source, pair.target].map(|s| &steps.spaces[s]);
    let widths = sides.map(|s| s.sae().map_or(0, |sae| sae.shape.d_in) as u64);
    let rows = sides.map(|s| s.width).into_iter().min().unwrap_or(0);
    let ranks = steps.spec.estimate.measures.iter().any(|m| matches!(m, Measure::Rsa(_)));
    4 * 8 * rows as u64 * widths.iter().sum::<u64>() + if ranks { rsa_bytes(rows) } else { 0 }
}

/// What pairing the dictionaries of a pair holds: both sides' rows in f64, once more with coordinates permuted, and the cosines, as
/// numbers and as costs both ways, or lists of them.
fn dictionary_bytes(steps: &Steps, pair: &Pair) -> u64 {
    let [(m, d), (n, _)] = [pair.source, pair.target].map(|s| {
        let space = &steps.spaces[s];
        (space.width as u64, space.sae().map_or(0, |sae| sae.shape.d_out as u64))
    });
    let cosines = if m.max(n) <= DENSE_ROWS as u64 { 24 * m * n } else { 16 * 64 * (m + n) };
    8 * (m + 2 * n) * d + cosines
}

/// What the doctor's check takes on top of the models and SAEs: a copy of the largest SAE, what one model held at each place, its
/// two neighbours and its normed twin (of a transcoder at what it predicts, too), and what is read with another scale.
fn check_bytes(steps: &Steps) -> u64 {
    let check = &steps.spec.check;
    let saes = || steps.saes();
    if check.doctor == DoctorRule::Off || steps.spec.here.folds_only {
        return 0;
    }
    let rows = check.tokens + steps.spec.corpus.context_length as u64;
    let held = steps.models.iter().enumerate().map(|(k, m)| {
        let widths = |(s, sae): (&Space, &PlannedSae)| {
            let width = m.shape.width(s.site.hookpoint).unwrap_or(m.shape.d_model) as u64;
            let places = 3 + u64::from(s.site.hookpoint.twin().is_some());
            if sae.shape.transcoder { places * (width + sae.shape.d_out as u64) } else { places * width }
        };
        let of_model = || saes().filter(|(s, _)| s.model() == k);
        let scaled = of_model().map(|(_, sae)| (sae.shape.d_in + sae.shape.d_out) as u64).max().unwrap_or(0);
        4 * rows * (of_model().map(widths).sum::<u64>() + scaled)
    });
    saes().map(|(_, sae)| sae.memory_bytes()).max().unwrap_or(0) + held.max().unwrap_or(0)
}

/// What is held at most when it is done in this way. Tiles are counted with every row alive.
pub(super) fn costs(steps: &Steps, choice: &Choice) -> Vec<Cost> {
    let mut costs = Costs { steps, choice, out: Vec::new(), moments: 0 };
    costs.loaded();
    let n_loaded = costs.out.len();
    costs.pairs();
    costs.latents();
    costs.raw();
    costs.readouts();
    costs.scores();
    costs.batches();
    costs.text();
    // the check is over before any of that is held
    let instead: u64 = costs.out[n_loaded..].iter().map(|c| c.memory_bytes).sum();
    let check = check_bytes(steps);
    if check > instead {
        costs.streaming("check of the SAEs before the first batch", String::new(), check - instead);
    }
    let program = "program, reader, tokenizer, table writers";
    costs.cost(program, String::new(), PROGRAM_BYTES, SeenContexts::bytes(&()));
    costs.out.retain(|cost| steps.streams || !cost.only_streaming);
    costs.out
}

/// The parts so far.
struct Costs<'a> {
    steps: &'a Steps,
    choice: &'a Choice,
    out: Vec<Cost>,
    /// Bytes of all sums that each batch in the air brings moments for.
    moments: u64,
}

impl Costs<'_> {
    fn cost(&mut self, kind: &'static str, of: String, memory_bytes: u64, disk_bytes: u64) {
        self.out.push(Cost { kind, of, memory_bytes, disk_bytes, only_streaming: false });
    }

    /// What is held only while the corpus is read.
    fn streaming(&mut self, kind: &'static str, of: String, memory_bytes: u64) {
        self.out.push(Cost { kind, of, memory_bytes, disk_bytes: 0, only_streaming: true });
    }

    /// Models and SAEs; SAEs alone where this process leaves the encode to others.
    fn loaded(&mut self) {
        let steps = self.steps;
        if steps.spec.here.folds_only {
            steps.saes().for_each(|(s, sae)| self.cost("sae", s.site.to_string(), sae.shape.memory_bytes(), 0));
            return;
        }
        for (k, m) in steps.models.iter().enumerate() {
            let (kind, bytes) = match &m.elsewhere {
                Some(elsewhere) => elsewhere.memory_bytes(steps.tokens_of_a_batch()),
                None => ("model", steps.weight_bytes(k).here),
            };
            self.streaming(kind, m.name.clone(), bytes);
        }
        for (s, sae) in steps.saes() {
            self.cost("sae", s.site.to_string(), sae.memory_bytes(), 0);
            let encoder = steps.encoder_bytes(sae)[0].here;
            if encoder > 0 {
                self.streaming("encoder of the tensor library", s.site.to_string(), encoder);
            }
            let screen = self.choice.screen_bytes(sae);
            if screen > 0 {
                self.streaming("screen", s.site.to_string(), screen);
            }
        }
    }

    /// Sums and match views of each pair; the sketches that serve them.
    fn pairs(&mut self) {
        let (steps, choice) = (self.steps, self.choice);
        let (spec, is_sketched) = (&steps.spec, choice.is_sketched());
        let mut choosing = 0;
        for p in &steps.pairs {
            let (a, b) = (&steps.spaces[p.source], &steps.spaces[p.target]);
            let sites = || format!("{} x {}", a.site, b.site);
            let best = (a.width + b.width) as u64 * spec.estimate.best as u64;
            if !steps.is_raw(*p) {
                // candidates are there twice while they are chosen again
                let times = if is_sketched { 2 } else { 1 };
                for (kind, bytes) in PairSums::parts(&choice.pair_shape(steps, *p, a.width)) {
                    self.cost(kind, sites(), times * bytes, bytes);
                }
                let sizes = [a.width, b.width];
                let at_work = choosing_bytes(choice.width, sizes, spec.compare.candidates, threads() as usize);
                choosing = choosing.max(at_work as u64);
            }
            let views = match is_sketched {
                true => best * WHOLE_VIEW_BYTES[0] + (a.width + b.width) as u64 * WHOLE_VIEW_BYTES[1],
                false => best * VIEW_ROW_BYTES,
            };
            self.cost("match views", sites(), views, (a.width + b.width) as u64 * 4);
            if spec.estimate.listed > 0 {
                let bytes = steps.listed_bytes(*p);
                self.cost("listed partners", sites(), bytes, bytes);
            }
        }
        for (_, s) in steps.spaces.iter().enumerate().filter(|(k, _)| choice.has_sketch(steps, *k)) {
            let bytes = Sketch::bytes(&(s.width, choice.width));
            self.cost("sketch", s.site.to_string(), bytes, bytes);
        }
        if is_sketched {
            self.cost("choosing candidates", String::new(), choosing, 0);
        }
    }

    /// What is kept of each space's latents.
    fn latents(&mut self) {
        let steps = self.steps;
        for s in &steps.spaces {
            let bytes = LatentSums::bytes(&s.width) + Profiles::bytes(&steps.profile_shape(s));
            // twice in memory: once held, once on its way to the tables
            self.cost("sums and top tokens", s.site.to_string(), 2 * bytes, bytes);
        }
        for s in &steps.spaces {
            let bytes = steps.given_bytes(s);
            if bytes > 0 {
                self.cost("rows of earlier documents (null.given)", s.site.to_string(), bytes, bytes);
            }
        }
    }

    /// Moments of raw activations.
    fn raw(&mut self) {
        let steps = self.steps;
        for r in steps.raw_sites.iter().filter(|_| steps.scores_activations()) {
            let bytes = SiteMoments::bytes(&r.width);
            self.moments += bytes;
            self.cost("raw moments", r.site.to_string(), 2 * bytes, bytes);
        }
        for p in &steps.raw_pairs {
            let (a, b) = (&steps.raw_sites[p.source], &steps.raw_sites[p.target]);
            let bytes = CrossCoMoment::bytes(&(a.width, b.width, steps.co_moment_nulls(p)));
            self.moments += bytes;
            self.cost("raw cross moments", format!("{} x {}", a.site, b.site), 2 * bytes, bytes);
        }
    }

    /// Readouts and maps between places.
    fn readouts(&mut self) {
        let steps = self.steps;
        let width = |k: usize| steps.readout_sites[k].width;
        for r in &steps.readouts {
            let (space, site) = (&steps.spaces[r.space], &steps.readout_sites[r.site]);
            let bytes = ReadoutSums::bytes(&steps.readout_shape(*r, space.width));
            self.cost("readout", format!("{} out of {}", space.site, site.site), bytes, bytes);
        }
        for r in &steps.readout_sites {
            let bytes = FoldMoments::bytes(&r.width);
            self.moments += bytes;
            self.cost("readout moments", r.site.to_string(), bytes, bytes);
        }
        for stitch in &steps.stitches {
            let bytes = FoldCross::bytes(&steps.stitch_shape(stitch));
            self.moments += bytes;
            let [a, b] = [stitch.source, stitch.target].map(|k| &steps.readout_sites[k].site);
            self.cost("stitch", format!("{a} x {b}"), bytes, bytes);
        }
        if let Some(widest) = steps.stitches.iter().flat_map(|s| [s.source, s.target]).map(width).max() {
            self.cost("maps of one pair", String::new(), MAP_MATRICES * 8 * (widest as u64).pow(2), 0);
        }
        if let Some(widest) = steps.readouts.iter().map(|r| width(r.site) as u64).max() {
            // two moments and factors, a strip read back
            let strip = steps.readouts.iter().map(|r| {
                let rows = tile_rows(steps.spaces[r.space].width, width(r.site));
                ReadoutSums::bytes(&steps.readout_shape(*r, rows))
            });
            self.cost("reading out", String::new(), 48 * widest * widest + strip.max().unwrap_or(0), 0);
        }
    }

    /// What scores at a snapshot or the end hold while they are made.
    fn scores(&mut self) {
        let steps = self.steps;
        let estimate = &steps.spec.estimate;
        if !estimate.measures.is_empty() {
            let scored = steps.pairs.iter().filter(|p| !steps.is_raw(**p)).map(|p| rows_bytes(steps, p)).max();
            self.cost("scores of one pair's matched rows", String::new(), scored.unwrap_or(0), 0);
        }
        if estimate.dictionary {
            let paired = steps.pairs.iter().filter(|p| steps.has_decoder_cosines(**p));
            let largest = paired.map(|p| dictionary_bytes(steps, p)).max();
            self.cost("dictionaries of one model", String::new(), largest.unwrap_or(0), 0);
        }
        if estimate.logits {
            let of = |p: &&Pair| steps.has_logit_effects(**p);
            let width = |s: usize| steps.spaces[s].sae().map_or(0, |sae| sae.shape.d_out as u64);
            let widest = steps.pairs.iter().filter(of).map(|p| width(p.source).max(width(p.target))).max().unwrap_or(0);
            let n = (steps.models.len() * (steps.models.len() + 1) / 2) as u64;
            self.cost("effects on the logits", String::new(), 8 * widest * widest * (3 * n + LOGIT_MATRICES), 0);
        }
        if estimate.filters.one_to_one == OneToOne::Transport {
            let pool = |s: usize| steps.spaces[s].width.min(TRANSPORT_POOL) as u64;
            let largest = steps.pairs.iter().map(|p| pool(p.source) * pool(p.target)).max().unwrap_or(0);
            self.cost("transport of one pool", String::new(), 2 * 8 * largest, 0);
        }
    }

    /// Batches on their way: the one at work, those that wait, rows beside their partners.
    fn batches(&mut self) {
        let steps = self.steps;
        let rows = steps.tokens_of_a_batch();
        let contexts = (0..steps.models.len()).map(|k| steps.running_bytes(k).here).max().unwrap_or(0);
        let activations: u64 = steps.models.iter().map(|m| 4 * crate::model::width_of(&m.shape, &m.hookpoints)).sum();
        let entries = |s: &Space| match &s.origin {
            Origin::Sae { sae, .. } => sae.shape.entries_per_row(sae.encode) as u64,
            Origin::Fed { most, .. } => *most as u64,
            Origin::Raw { .. } => s.width as u64,
        };
        let read = steps.readout_sites.iter().enumerate().filter(|(k, _)| steps.is_read(*k));
        let latents: u64 = steps.spaces.iter().map(|s| entries(s) * 8).sum::<u64>()
            + read.map(|(_, r)| 4 * r.width as u64).sum::<u64>();
        let encoded = rows.saturating_mul(2 * latents).saturating_add(self.moments);
        let encoding = |sae: &PlannedSae| match sae.computed[0].backend {
            BackendName::Kernels => threads() * sae.shape.encoding_bytes(sae.encode),
            BackendName::Candle => steps.encoder_bytes(sae)[1].here,
        };
        let encoding = steps.saes().map(|(_, sae)| encoding(sae)).max().unwrap_or(0);
        // a thread keeps what its contexts were computed in while it encodes
        // rows in the order of a null, and their product, which a thread keeps too
        let nulls = |p: &RawPair| {
            let [x, y] = [p.source, p.target].map(|k| steps.raw_sites[k].width as u64);
            if steps.co_moment_nulls(p) > 0 { 4 * (rows.saturating_mul(y)).saturating_add(4 * x * y) } else { 0 }
        };
        let nulls = steps.raw_pairs.iter().map(nulls).max().unwrap_or(0);
        let of_threads = threads().saturating_mul(nulls);
        let at_work = rows.saturating_mul(activations).saturating_add(contexts + encoding).saturating_add(of_threads);
        let at_work = at_work.saturating_add(steps.moments_here(threads()));
        let at_once = steps.spec.encoded_at_once() as u64;
        let kind =
            if at_once > 1 { "batches in their forward and encode" } else { "one batch in its forward and encode" };
        if !steps.spec.here.folds_only {
            self.streaming(kind, String::new(), at_work.saturating_mul(at_once));
        }
        let waiting = encoded.saturating_mul(BATCHES_IN_THE_AIR);
        self.streaming("encoded batches in the air", String::new(), waiting);
        let turned = rows.saturating_mul(steps.turned_bytes());
        if turned > 0 {
            self.streaming("one batch beside its partners", String::new(), turned);
        }
    }

    /// Reading and tokenizing.
    fn text(&mut self) {
        let steps = self.steps;
        let others: usize = steps.tokenizers.iter().map(|t| t.checked_vocabulary()).sum();
        if others > 0 {
            let bytes = others as u64 * TOKEN_BYTES;
            self.streaming("tokenizers that texts are checked by", String::new(), bytes);
        }
        let bytes = tokenizing_bytes(threads()).saturating_sub(ROOM_BYTES);
        self.streaming("tokenizing", String::new(), bytes);
        if steps.corpus.window_bytes > 0 {
            self.streaming("window of a zstd file", String::new(), steps.corpus.window_bytes);
        }
        if steps.corpus.pages_bytes > 0 {
            self.streaming("pages of a Parquet file", String::new(), steps.corpus.pages_bytes);
        }
    }
}

fn threads() -> u64 {
    rayon::current_num_threads() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_with_one_key_stand_together() {
        assert_eq!(grouped([(1, 'a'), (2, 'b'), (1, 'c')].into_iter()), [(1, vec!['a', 'c']), (2, vec!['b'])]);
    }
}
