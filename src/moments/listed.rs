//! What more is to be known of the pairs of latents that tables list? How often both fire, what they share beyond their token, and what
//! each group of documents adds. Sums of a few pairs of latents, each from the moment it was listed.
//!
//! Every sum of a pair is over the same rows, so that what is made of them is of one sample: a pair that is newly
//! listed starts at zero, one that stays continues. Rows are added one by one in their order, so that the sums have the
//! same bits however a corpus is cut into batches.

use crate::corpus::TokenBatch;
use crate::error::Result;
use crate::moments::sketch::mixed;
use crate::moments::{Accumulator, ByLatent, State};
use crate::store::{StateLayout, StateReader, StateWriter};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;

/// Groups that documents are thrown into, to see how far a correlation depends on a few of them.
pub const GROUPS: usize = 16;

/// The group of each row of a batch, by its document's place: file, record and part.
pub fn groups_of_rows(tokens: &TokenBatch) -> Vec<u8> {
    let of_documents: Vec<u8> = (tokens.documents.iter())
        .map(|d| (mixed(mixed(d.file.wrapping_add(d.record)).wrapping_add(u64::from(d.part))) % GROUPS as u64) as u8)
        .collect();
    tokens.rows.iter().map(|row| of_documents[row.document as usize]).collect()
}

/// The sums of one pair of latents x and y. Rows with a partner are those that another document's row of the same key came before; x′ and y′
/// are the values there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ListedPair {
    /// Rows on which both fire.
    pub n_both: u64,
    /// Rows on which each does.
    pub n_active: [u64; 2],
    /// The same among the rows with a partner.
    pub n_given: [u64; 2],
    /// Over rows with a partner: Σx, Σx², Σy′, Σy′², Σxy′.
    pub token: [f64; 5],
    /// Over rows with a partner: ½Σ(x−x′)(y−y′), ½Σ(x−x′)², ½Σ(y−y′)².
    pub within: [f64; 3],
    /// ½Σ(x−x′)(y−y′), y's rows being those of another document.
    pub within_null: f64,
    /// By group of documents: Σx, Σx², Σy, Σy², Σxy.
    pub by_group: [[f64; 5]; GROUPS],
}

const COUNTS: usize = 5;
const FLOATS: usize = 9 + 5 * GROUPS;

impl ListedPair {
    fn counts(&self) -> [u64; COUNTS] {
        [self.n_both, self.n_active[0], self.n_active[1], self.n_given[0], self.n_given[1]]
    }

    fn floats(&self) -> [f64; FLOATS] {
        let mut out = [0.0; FLOATS];
        let by_group = self.by_group.iter().flatten();
        let all = self.token.iter().chain(&self.within).chain([&self.within_null]).chain(by_group);
        out.iter_mut().zip(all).for_each(|(a, b)| *a = *b);
        out
    }

    fn of(counts: &[u64], floats: &[f64]) -> Self {
        let mut by_group = [[0.0; 5]; GROUPS];
        by_group.iter_mut().zip(floats[9..].chunks_exact(5)).for_each(|(a, b)| a.copy_from_slice(b));
        ListedPair {
            n_both: counts[0],
            n_active: [counts[1], counts[2]],
            n_given: [counts[3], counts[4]],
            token: [floats[0], floats[1], floats[2], floats[3], floats[4]],
            within: [floats[5], floats[6], floats[7]],
            within_null: floats[8],
            by_group,
        }
    }

    fn plus(&self, other: &ListedPair) -> ListedPair {
        let (mut counts, mut floats) = (self.counts(), self.floats());
        counts.iter_mut().zip(other.counts()).for_each(|(a, b)| *a += b);
        floats.iter_mut().zip(other.floats()).for_each(|(a, b)| *a += b);
        ListedPair::of(&counts, &floats)
    }
}

/// Rows since pairs that were listed at one moment are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// By group of documents.
    pub rows: [u64; GROUPS],
    /// With a partner.
    pub given: u64,
}

/// The pairs of latents that are listed of one pair of spaces, ascending by source, then target, with their sums.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedSums {
    d_source: usize,
    d_target: usize,
    /// Source latent i holds entries `starts[i]..starts[i + 1]`: `[d_source + 1]`.
    starts: Vec<u64>,
    targets: Vec<u32>,
    /// Index into `since` of each entry.
    moments: Vec<u32>,
    since: Vec<Since>,
    pairs: Vec<ListedPair>,
}

/// What a batch gives to the listed pairs of two spaces.
#[derive(Clone, Copy, Debug)]
pub struct ListedBatch<'a> {
    /// Both sides.
    pub sides: [ListedSide<'a>; 2],
    /// Group of each row, `[n_rows]`.
    pub groups: &'a [u8],
    /// Whether it has a partner, `[n_rows]`.
    pub given: &'a [bool],
    /// The source's row that is beside each row of the target where rows are paired by chance, `[n_rows]`.
    pub beside: &'a [u32],
}

/// A batch's latents of one space, turned round.
#[derive(Clone, Copy, Debug)]
pub struct ListedSide<'a> {
    /// As they are.
    pub own: &'a ByLatent,
    /// Those of the rows' partners.
    pub partner: &'a ByLatent,
    /// What rows have more than their partners.
    pub difference: &'a ByLatent,
}

/// Tasks that a batch's products are cut into, at most.
const TASKS: usize = 64;

impl ListedSums {
    /// Nothing is listed.
    pub fn new(d_source: usize, d_target: usize) -> Self {
        let (targets, moments, since, pairs) = Default::default();
        ListedSums { d_source, d_target, starts: vec![0; d_source + 1], targets, moments, since, pairs }
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether no pair is listed.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    fn row(&self, i: usize) -> Range<usize> {
        self.starts[i] as usize..self.starts[i + 1] as usize
    }

    fn find(&self, source: u32, target: u32) -> Option<usize> {
        let row = self.row(source as usize);
        self.targets[row.clone()].binary_search(&target).ok().map(|k| row.start + k)
    }

    /// Every entry: (source, target, rows since it is counted, sums).
    pub fn entries(&self) -> impl Iterator<Item = (u32, u32, &Since, &ListedPair)> {
        (0..self.d_source).flat_map(move |i| {
            self.row(i).map(move |k| (i as u32, self.targets[k], &self.since[self.moments[k] as usize], &self.pairs[k]))
        })
    }

    /// Lists `pairs` of (source, target), ascending, and no others: those that are listed already continue, the others
    /// start at zero.
    ///
    /// # Panics
    /// When a pair is not of these spaces, or they are not ascending.
    pub fn list(&mut self, pairs: &[(u32, u32)]) {
        assert!(pairs.is_sorted_by(|a, b| a < b), "each pair once, ascending");
        let mut new = ListedSums::new(self.d_source, self.d_target);
        new.since = std::mem::take(&mut self.since);
        new.since.push(Since::default());
        let begun = new.since.len() as u32 - 1;
        for &(source, target) in pairs {
            assert!((target as usize) < self.d_target, "a latent of the target");
            let (moment, sums) =
                self.find(source, target).map_or((begun, ListedPair::default()), |k| (self.moments[k], self.pairs[k]));
            new.push(source, target, moment, sums);
        }
        new.close();
        *self = new;
    }

    /// Appends an entry; [`close`](Self::close) comes after the last.
    fn push(&mut self, source: u32, target: u32, moment: u32, sums: ListedPair) {
        self.targets.push(target);
        self.moments.push(moment);
        self.pairs.push(sums);
        self.starts[source as usize + 1] = self.targets.len() as u64;
    }

    /// Fills the starts of latents without an entry, and forgets the moments that no entry is counted from.
    fn close(&mut self) {
        for i in 0..self.d_source {
            self.starts[i + 1] = self.starts[i + 1].max(self.starts[i]);
        }
        let mut used: Vec<u32> = vec![0; self.since.len()];
        self.moments.iter().for_each(|m| used[*m as usize] = 1);
        let mut n = 0;
        for (k, used) in used.iter_mut().enumerate().filter(|(_, used)| **used > 0) {
            self.since[n] = self.since[k];
            *used = n as u32;
            n += 1;
        }
        self.since.truncate(n);
        self.moments.iter_mut().for_each(|m| *m = used[*m as usize]);
    }

    fn is_sound(&self) -> bool {
        let n = self.targets.len();
        self.starts.len() == self.d_source + 1
            && self.starts[0] == 0
            && self.starts[self.d_source] == n as u64
            && self.starts.is_sorted()
            && (0..self.d_source).all(|i| self.targets[self.row(i)].is_sorted_by(|a, b| a < b))
            && self.targets.iter().all(|j| (*j as usize) < self.d_target)
            && self.moments.iter().all(|m| (*m as usize) < self.since.len())
    }
}

/// Values of one source latent laid out by row, and taken off again.
struct Laid {
    own: Vec<f64>,
    difference: Vec<f64>,
}

fn lay(into: &mut [f64], (rows, values): (&[u32], &[f32])) {
    rows.iter().zip(values).for_each(|(&r, &v)| into[r as usize] = f64::from(v));
}

fn lift(from: &mut [f64], (rows, _): (&[u32], &[f32])) {
    rows.iter().for_each(|&r| from[r as usize] = 0.0);
}

/// Adds a batch to an entry of source latent `i` and target latent `j`; `x` has `i` laid out.
fn fold_pair(pair: &mut ListedPair, x: &Laid, i: usize, j: usize, batch: &ListedBatch<'_>) {
    let [source, target] = batch.sides;
    let each = |(rows, values): (&'_ [u32], &'_ [f32]), visit: &mut dyn FnMut(usize, f64)| {
        rows.iter().zip(values).for_each(|(&r, &v)| visit(r as usize, f64::from(v)));
    };
    each(source.own.latent(i), &mut |r, x| {
        pair.n_active[0] += 1;
        let group = &mut pair.by_group[batch.groups[r] as usize];
        group[0] += x;
        group[1] += x * x;
        if batch.given[r] {
            pair.n_given[0] += 1;
            pair.token[0] += x;
            pair.token[1] += x * x;
        }
    });
    each(target.own.latent(j), &mut |r, y| {
        pair.n_active[1] += 1;
        pair.n_given[1] += u64::from(batch.given[r]);
        pair.n_both += u64::from(x.own[r] != 0.0);
        let group = &mut pair.by_group[batch.groups[r] as usize];
        group[2] += y;
        group[3] += y * y;
        group[4] += x.own[r] * y;
    });
    each(target.partner.latent(j), &mut |r, y| {
        pair.token[2] += y;
        pair.token[3] += y * y;
        pair.token[4] += x.own[r] * y;
    });
    each(source.difference.latent(i), &mut |_, dx| pair.within[1] += 0.5 * dx * dx);
    each(target.difference.latent(j), &mut |r, dy| {
        pair.within[0] += 0.5 * x.difference[r] * dy;
        pair.within[2] += 0.5 * dy * dy;
        pair.within_null += 0.5 * x.difference[batch.beside[r] as usize] * dy;
    });
}

impl State for ListedSums {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        let n = self.len();
        layout
            .tensor::<u64>("starts", &[self.starts.len()])
            .tensor::<u64>("since", &[self.since.len(), GROUPS + 1])
            .tensor::<u64>("counts", &[n, COUNTS])
            .tensor::<f64>("sums", &[n, FLOATS])
            .tensor::<u32>("targets", &[n])
            .tensor::<u32>("moments", &[n])
    }

    fn save(&self, file: &mut StateWriter) -> Result<()> {
        file.put("starts", &self.starts)?;
        for since in &self.since {
            file.put("since", &since.rows)?;
            file.put("since", &[since.given])?;
        }
        self.pairs.iter().try_for_each(|pair| file.put("counts", &pair.counts()))?;
        self.pairs.iter().try_for_each(|pair| file.put("sums", &pair.floats()))?;
        file.put("targets", &self.targets)?;
        file.put("moments", &self.moments)
    }

    /// Into empty memory all that was listed comes back; behind other rows, what is listed in both.
    fn load(&mut self, file: &mut StateReader, first_row: u64) -> Result<()> {
        let mut read = ListedSums::new(self.d_source, self.d_target);
        read.starts = file.tensor("starts")?;
        (read.targets, read.moments) = (file.tensor("targets")?, file.tensor("moments")?);
        let n = read.targets.len();
        let shapes = [("counts", vec![n, COUNTS]), ("sums", vec![n, FLOATS])];
        for (name, shape) in shapes {
            if file.shape(name)? != shape {
                return Err(file.misfit());
            }
        }
        let since: Vec<u64> = file.tensor("since")?;
        for since in since.chunks_exact(GROUPS + 1) {
            let mut rows = [0; GROUPS];
            rows.copy_from_slice(&since[..GROUPS]);
            read.since.push(Since { rows, given: since[GROUPS] });
        }
        let (mut counts, mut floats) = ([0u64; COUNTS], [0f64; FLOATS]);
        for k in 0..n {
            file.read_at("counts", k * COUNTS, &mut counts)?;
            file.read_at("sums", k * FLOATS, &mut floats)?;
            read.pairs.push(ListedPair::of(&counts, &floats));
        }
        if read.moments.len() != n || !read.is_sound() {
            return Err(file.misfit());
        }
        if first_row == 0 {
            *self = read;
            return Ok(());
        }
        self.merge(&read)
    }
}

impl Accumulator for ListedSums {
    type Batch<'a> = ListedBatch<'a>;
    /// The most pairs that are listed.
    type Shape = u64;

    fn fold(&mut self, batch: ListedBatch<'_>) -> Result<()> {
        for since in &mut self.since {
            batch.groups.iter().for_each(|g| since.rows[*g as usize] += 1);
            since.given += batch.given.iter().filter(|given| **given).count() as u64;
        }
        if self.is_empty() {
            return Ok(());
        }
        let mut tasks = Vec::with_capacity(TASKS);
        let mut rest = self.pairs.as_mut_slice();
        let step = self.d_source.div_ceil(TASKS);
        for from in (0..self.d_source).step_by(step) {
            let to = (from + step).min(self.d_source);
            let (mine, later) = rest.split_at_mut((self.starts[to] - self.starts[from]) as usize);
            tasks.push((from..to, mine));
            rest = later;
        }
        let (starts, targets, n_rows) = (&self.starts, &self.targets, batch.groups.len());
        let laid = || Laid { own: vec![0.0; n_rows], difference: vec![0.0; n_rows] };
        tasks.into_par_iter().for_each_init(laid, |x, (latents, pairs)| {
            let first = starts[latents.start] as usize;
            for i in latents {
                let row = starts[i] as usize..starts[i + 1] as usize;
                if row.is_empty() {
                    continue;
                }
                let source = batch.sides[0];
                lay(&mut x.own, source.own.latent(i));
                lay(&mut x.difference, source.difference.latent(i));
                for k in row {
                    fold_pair(&mut pairs[k - first], x, i, targets[k] as usize, &batch);
                }
                lift(&mut x.own, source.own.latent(i));
                lift(&mut x.difference, source.difference.latent(i));
            }
        });
        Ok(())
    }

    /// Only pairs that are listed in both stay: of the others one part was not counted.
    fn merge(&mut self, other: &ListedSums) -> Result<()> {
        let mut merged = ListedSums::new(self.d_source, self.d_target);
        let mut moments: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        for i in 0..self.d_source as u32 {
            for k in self.row(i as usize) {
                let Some(l) = other.find(i, self.targets[k]) else { continue };
                let (mine, theirs) = (self.moments[k], other.moments[l]);
                let moment = *moments.entry((mine, theirs)).or_insert_with(|| {
                    let (a, b) = (self.since[mine as usize], other.since[theirs as usize]);
                    let mut rows = a.rows;
                    rows.iter_mut().zip(b.rows).for_each(|(a, b)| *a += b);
                    merged.since.push(Since { rows, given: a.given + b.given });
                    merged.since.len() as u32 - 1
                });
                merged.push(i, self.targets[k], moment, self.pairs[k].plus(&other.pairs[l]));
            }
        }
        merged.close();
        *self = merged;
        Ok(())
    }

    fn bytes(&most: &u64) -> u64 {
        most * (size_of::<ListedPair>() + 16) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moments::accumulator::tests::keeps_the_contract;

    #[test]
    fn listed_sums_go_through_a_file_and_what_both_list_stays() {
        let of = |pairs: &[(u32, u32)], seed: u64| {
            let mut sums = ListedSums::new(3, 4);
            sums.list(pairs);
            sums.since[0] = Since { rows: [seed; GROUPS], given: seed };
            for (k, pair) in sums.pairs.iter_mut().enumerate() {
                let floats: Vec<f64> = (0..FLOATS).map(|f| (f + k) as f64 + seed as f64 / 4.0).collect();
                *pair = ListedPair::of(&[seed, seed + 1, 7, 2, k as u64], &floats);
            }
            sums
        };
        let (a, b) = (of(&[(0, 1), (2, 0), (2, 3)], 5), of(&[(0, 1), (1, 1), (2, 3)], 9));
        keeps_the_contract(&ListedSums::new(3, 4), [&a, &b], Some(&ListedSums::new(2, 4)));
        let mut both = a.clone();
        both.merge(&b).unwrap();
        let pairs: Vec<(u32, u32)> = both.entries().map(|(i, j, ..)| (i, j)).collect();
        assert_eq!(
            (pairs, both.since.as_slice()),
            (vec![(0, 1), (2, 3)], &[Since { rows: [14; GROUPS], given: 14 }][..])
        );
        assert_eq!(both.pairs[1].by_group[15][4], a.pairs[2].by_group[15][4] + b.pairs[2].by_group[15][4]);
    }
}
