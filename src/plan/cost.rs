//! What is held, in bytes: the parts of a plan, their sum, and what to do when it is over the limit.

use crate::corpus::tokenizing_bytes;
use crate::error::{Error, Result};
use crate::matching::{OneToOne, TRANSPORT_POOL, choosing_bytes};
use crate::moments::{Accumulator, CoMoment, CrossCoMoment, LatentSums, PairSums, Profiles, SeenContexts, Sketch};
use crate::plan::{Cost, Origin, Pair, Plan, PlannedSae, Space};
use crate::similarity::{Measure, rsa_bytes};
use crate::spec::{Cross, DoctorRule};
use crate::units::human_bytes;

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

impl Plan {
    /// Bytes of memory at most.
    pub fn memory_bytes(&self) -> u64 {
        self.costs.iter().fold(0, |sum: u64, c| sum.saturating_add(c.memory_bytes))
    }

    /// Bytes on disk at most: two checkpoints and the tables.
    pub fn disk_bytes(&self) -> u64 {
        self.costs.iter().fold(0, |sum: u64, c| sum.saturating_add(c.disk_bytes)).saturating_mul(2)
    }

    /// Bytes of memory of each kind of thing, largest first, with what it is: one thing by its name, several by their number.
    pub fn costs_by_kind(&self) -> Vec<(u64, String)> {
        let named = |(kind, of): (&str, Vec<&Cost>)| {
            let bytes = of.iter().map(|c| c.memory_bytes).sum();
            (bytes, if let [one] = of[..] { one.what() } else { format!("{} x {kind}", of.len()) })
        };
        let mut kinds: Vec<(u64, String)> =
            grouped(self.costs.iter().map(|c| (c.kind, c))).into_iter().map(named).collect();
        kinds.sort_by_key(|(sum, _)| std::cmp::Reverse(*sum));
        kinds
    }

    /// Refuses a plan that is over `limit` bytes of memory, naming the largest parts.
    ///
    /// # Errors
    /// `Machine`.
    pub fn check_memory(&self, limit: u64) -> Result<()> {
        let needed = self.memory_bytes();
        if needed <= limit {
            return Ok(());
        }
        let parts: Vec<String> = (self.costs_by_kind().into_iter().take(3))
            .map(|(bytes, what)| format!("{what} {}", human_bytes(bytes)))
            .collect();
        let suggestion = self.suggestion(limit).map_or(String::new(), |way| format!("{way}; or "));
        Err(Error::machine(format!(
            "the plan needs up to {} of memory, the limit is {}: {}; {suggestion}compare fewer pairs, lower corpus.batch_contexts, \
             or raise --memory-limit; `cognate plan` lists all of it",
            human_bytes(needed),
            human_bytes(limit),
            parts.join(", ")
        )))
    }

    /// A way of keeping Σxy that fits into `limit` bytes, in words, where this one does not.
    fn suggestion(&self, limit: u64) -> Option<String> {
        let mut other = self.clone();
        let narrowest = if self.tiles.is_empty() { return None } else { 64 };
        let mut width = if self.is_sketched() { self.spec.compare.width / 2 } else { self.spec.compare.width };
        while width >= narrowest {
            other.spec.compare.width = width;
            other.lay_out_tiles(Cross::Sketch);
            let needed = other.memory_bytes();
            if needed <= limit {
                return Some(format!("compare.cross = \"sketch\" with width = {width} needs {}", human_bytes(needed)));
            }
            width /= 2;
        }
        None
    }
}

/// Bytes for each row of the match views: their arrangements, twice over while old and new rows are brought together, and
/// the publisher's own copy (measured: 2900 on the demo after twenty snapshots).
const VIEW_ROW_BYTES: u64 = 3000;

/// The same where one worker knows all of a pair, and only first choices are arranged; and for each latent besides
/// (measured on six pairs of 8192 latents after ten snapshots, one and five partners kept: 470 a row, 120 a latent).
const WHOLE_VIEW_BYTES: [u64; 2] = [600, 300];

/// Batches that may wait encoded with one worker; `--workers` and `--in-flight` add theirs.
const BATCHES_IN_THE_AIR: u64 = 3;

/// What the process holds before it holds anything of the run's (measured: 48 MiB), and some room.
const PROGRAM_BYTES: u64 = 64 << 20;
/// Of that room, what reading and tokenizing may take.
const ROOM_BYTES: u64 = 8 << 20;

/// What scoring the matched rows of a pair holds, if all latents of the narrower side are matched.
fn rows_bytes(plan: &Plan, pair: &Pair) -> u64 {
    let sides = [pair.source, pair.target].map(|s| &plan.spaces[s]);
    let widths = sides.map(|s| s.sae().map_or(0, |sae| sae.shape.d_in) as u64);
    let rows = sides.map(|s| s.width).into_iter().min().unwrap_or(0);
    let ranks = plan.spec.estimate.measures.iter().any(|m| matches!(m, Measure::Rsa(_)));
    4 * 8 * rows as u64 * widths.iter().sum::<u64>() + if ranks { rsa_bytes(rows) } else { 0 }
}

/// What the doctor's check takes beside the models and SAEs: a copy of the largest SAE, what one model held at each place, its
/// two neighbours and its normed twin (of a transcoder at what it predicts, too), and what is read with another scale.
fn check_bytes(plan: &Plan) -> u64 {
    let check = &plan.spec.check;
    let saes = || plan.saes();
    if check.doctor == DoctorRule::Off {
        return 0;
    }
    let rows = check.tokens + plan.spec.corpus.context_length as u64;
    let held = plan.models.iter().enumerate().map(|(k, m)| {
        let widths = |(s, sae): (&Space, &PlannedSae)| {
            let width = m.shape.width(s.site.hookpoint).unwrap_or(m.shape.d_model) as u64;
            let places = 3 + u64::from(s.site.hookpoint.twin().is_some());
            if sae.shape.transcoder { places * (width + sae.shape.d_out as u64) } else { places * width }
        };
        let of_model = || saes().filter(|(s, _)| s.tap().model == k);
        let scaled = of_model().map(|(_, sae)| (sae.shape.d_in + sae.shape.d_out) as u64).max().unwrap_or(0);
        4 * rows * (of_model().map(widths).sum::<u64>() + scaled)
    });
    saes().map(|(_, sae)| sae.shape.memory_bytes()).max().unwrap_or(0) + held.max().unwrap_or(0)
}

/// What is held, at most. Tiles are counted with every row alive.
pub(super) fn costs(plan: &Plan) -> Vec<Cost> {
    let spec = &plan.spec;
    let cost = |kind: &'static str, of: String, memory_bytes: u64, disk_bytes: u64| Cost {
        kind,
        of,
        memory_bytes,
        disk_bytes,
        only_streaming: false,
    };
    let streaming =
        |kind, of: String, memory_bytes| Cost { kind, of, memory_bytes, disk_bytes: 0, only_streaming: true };
    let mut out = Vec::new();
    let threads = rayon::current_num_threads() as u64;
    let mut largest_target = 0;
    for (k, m) in plan.models.iter().enumerate() {
        out.push(streaming("model", m.name.clone(), crate::model::memory_bytes(&m.shape, plan.blocks_loaded(k))));
    }
    for (s, sae) in plan.saes() {
        out.push(cost("sae", s.site.to_string(), sae.shape.memory_bytes(), 0));
        let screen = plan.screen_bytes(sae);
        if screen > 0 {
            out.push(streaming("screen", s.site.to_string(), screen));
        }
    }
    let n_loaded = out.len();
    for p in &plan.pairs {
        let (a, b) = (&plan.spaces[p.source], &plan.spaces[p.target]);
        let sites = || format!("{} x {}", a.site, b.site);
        let best = (a.width + b.width) as u64 * spec.estimate.best as u64;
        if !plan.is_raw(*p) {
            // candidates are there twice while they are chosen again
            let times = if plan.is_sketched() { 2 } else { 1 };
            for (kind, bytes) in PairSums::parts(&plan.pair_shape(*p, a.width)) {
                out.push(cost(kind, sites(), times * bytes, bytes));
            }
            largest_target = largest_target.max(b.width as u64);
        }
        let views = if plan.is_sketched() {
            best * WHOLE_VIEW_BYTES[0] + (a.width + b.width) as u64 * WHOLE_VIEW_BYTES[1]
        } else {
            best * VIEW_ROW_BYTES
        };
        out.push(cost("match views", sites(), views, (a.width + b.width) as u64 * 4));
    }
    for (_, s) in plan.spaces.iter().enumerate().filter(|(k, _)| plan.has_sketch(*k)) {
        let bytes = Sketch::bytes(&(s.width, spec.compare.width));
        out.push(cost("sketch", s.site.to_string(), bytes, bytes));
    }
    if plan.is_sketched() {
        let at_work = choosing_bytes(spec.compare.width, largest_target as usize, spec.compare.candidates) as u64;
        out.push(cost("choosing candidates", String::new(), (threads + 1) * at_work, 0));
    }
    for s in &plan.spaces {
        let bytes = LatentSums::bytes(&s.width) + Profiles::bytes(&plan.profile_shape(s));
        // twice in memory: once held, once on its way to the tables
        out.push(cost("sums and top tokens", s.site.to_string(), 2 * bytes, bytes));
    }
    let mut moments = 0;
    for r in plan.raw_sites.iter().filter(|_| plan.scores_activations()) {
        let bytes = CoMoment::bytes(&r.width);
        moments += bytes;
        out.push(cost("raw moments", r.site.to_string(), 2 * bytes, bytes));
    }
    for p in &plan.raw_pairs {
        let (a, b) = (&plan.raw_sites[p.source], &plan.raw_sites[p.target]);
        let bytes = CrossCoMoment::bytes(&(a.width, b.width, plan.co_moment_nulls(p)));
        moments += bytes;
        out.push(cost("raw cross moments", format!("{} x {}", a.site, b.site), 2 * bytes, bytes));
    }
    if !spec.estimate.measures.is_empty() {
        let scored = plan.pairs.iter().filter(|p| !plan.is_raw(**p)).map(|p| rows_bytes(plan, p)).max();
        out.push(cost("scores of one pair's matched rows", String::new(), scored.unwrap_or(0), 0));
    }
    if spec.estimate.filters.one_to_one == OneToOne::Transport {
        let pool = |s: usize| plan.spaces[s].width.min(TRANSPORT_POOL) as u64;
        let largest = plan.pairs.iter().map(|p| pool(p.source) * pool(p.target)).max().unwrap_or(0);
        out.push(cost("transport of one pool", String::new(), 2 * 8 * largest, 0));
    }
    let rows = (spec.corpus.batch_contexts as u64).saturating_mul(spec.corpus.context_length as u64);
    let contexts: u64 = (plan.models.iter())
        .map(|m| crate::model::context_bytes(&m.shape, spec.corpus.context_length, &m.hookpoints))
        .max()
        .unwrap_or(0);
    let activations: u64 = plan.models.iter().map(|m| 4 * crate::model::width_of(&m.shape, &m.hookpoints)).sum();
    let entries = |s: &Space| match &s.origin {
        Origin::Sae { sae, .. } => sae.shape.entries_per_row(sae.encode) as u64,
        Origin::Raw { .. } => s.width as u64,
    };
    let latents: u64 = plan.spaces.iter().map(|s| entries(s) * 8).sum();
    let encoded = rows.saturating_mul(2 * latents).saturating_add(moments);
    let encoding: u64 = plan.saes().map(|(_, sae)| sae.shape.encoding_bytes(sae.encode)).max().unwrap_or(0);
    // a thread keeps what its contexts were computed in while it encodes
    let at_work = threads * (contexts + encoding);
    out.push(streaming(
        "one batch in its forward and encode",
        String::new(),
        rows.saturating_mul(activations).saturating_add(at_work),
    ));
    out.push(streaming("encoded batches in the air", String::new(), encoded.saturating_mul(BATCHES_IN_THE_AIR)));
    out.push(streaming("tokenizing", String::new(), tokenizing_bytes(threads).saturating_sub(ROOM_BYTES)));
    if plan.corpus_window_bytes > 0 {
        out.push(streaming("window of a zstd file", String::new(), plan.corpus_window_bytes));
    }
    // the check is over before any of that is held
    let instead: u64 = out[n_loaded..].iter().map(|c| c.memory_bytes).sum();
    if check_bytes(plan) > instead {
        out.push(streaming("check of the SAEs before the first batch", String::new(), check_bytes(plan) - instead));
    }
    out.push(cost("program, reader, tokenizer, table writers", String::new(), PROGRAM_BYTES, SeenContexts::bytes(&())));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_with_one_key_stand_together() {
        assert_eq!(grouped([(1, 'a'), (2, 'b'), (1, 'c')].into_iter()), [(1, vec!['a', 'c']), (2, vec!['b'])]);
    }
}
