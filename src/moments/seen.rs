//! How many contexts were seen before? Duplicated text pairs a row with itself under another name, and no null that turns documents
//! against each other notices. A context is known by its first [`HEAD`] tokens; those of fewer than [`LEAST`] are not looked at,
//! for short remainders repeat by themselves.
//!
//! The number of different contexts is exact up to [`EXACT`] of them; beyond, it is estimated from 2¹⁶ registers (HyperLogLog,
//! Flajolet, Fusy, Gandouet and Meunier 2007, with the estimator of Ertl 2017, arXiv 1702.01284, algorithm 6), at a relative
//! standard error of √(3 ln 2 − 1)/2⁸, 0.41 %. Both are functions of the set of contexts alone: neither order nor the way in
//! which runs were merged changes a bit. Copies that are moved by a token are not found.

use crate::corpus::TokenView;
use crate::error::Result;
use crate::moments::sketch::mixed;
use crate::moments::{Accumulator, State};
use crate::store::{StateLayout, StateReader, StateWriter};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Tokens by which a context is known.
pub const HEAD: usize = 32;
/// Tokens of the shortest context that is looked at.
pub const LEAST: usize = 8;
/// Different contexts up to which they are counted exactly.
pub const EXACT: usize = 4096;

/// log₂ of the number of registers.
const P: u32 = 16;
const REGISTERS: usize = 1 << P;
/// Bits of a hash behind those that choose the register.
const Q: usize = 64 - P as usize;

/// Contexts so far, and how many different ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenContexts {
    n: u64,
    different: Different,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Different {
    /// Hashes of at most [`EXACT`] contexts.
    Exact(BTreeSet<u64>),
    /// `[REGISTERS]`, 0 to Q + 1.
    Registers(Vec<u8>),
}

/// Contexts that were there before, as a share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repeated {
    /// Contexts looked at.
    pub contexts: u64,
    /// 1 − different / contexts, in [0, 1).
    pub share: f64,
    /// Standard error of the share; 0 where it is exact.
    pub error: f64,
}

impl Default for SeenContexts {
    fn default() -> Self {
        SeenContexts { n: 0, different: Different::Exact(BTreeSet::new()) }
    }
}

impl State for SeenContexts {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        let (n, hashes, registers) = self.parts();
        layout.key("contexts", n).tensor::<u64>("hashes", &[hashes.len()]).tensor::<u8>("registers", &[registers.len()])
    }

    fn save(&self, file: &mut StateWriter) -> Result<()> {
        let (_, hashes, registers) = self.parts();
        file.put("hashes", &hashes)?;
        file.put("registers", registers)
    }

    fn load(&mut self, file: &mut StateReader, _: u64) -> Result<()> {
        let n = file.number("contexts")?;
        let read = SeenContexts::from_parts(n, file.tensor("hashes")?, file.tensor("registers")?);
        self.merge(&read.ok_or_else(|| file.misfit())?)
    }
}

impl Accumulator for SeenContexts {
    type Batch<'a> = &'a TokenView;
    type Shape = ();

    /// Adds the contexts of a batch, as one tokenizer cuts them.
    fn fold(&mut self, view: &TokenView) -> Result<()> {
        for context in view.contexts.iter().filter(|c| c.ids.len() >= LEAST) {
            self.n += 1;
            self.add(hash_of(&context.ids));
        }
        Ok(())
    }

    /// Adds contexts of other text.
    fn merge(&mut self, other: &SeenContexts) -> Result<()> {
        self.n += other.n;
        match &other.different {
            Different::Exact(hashes) => hashes.iter().for_each(|h| self.add(*h)),
            Different::Registers(theirs) => {
                for (mine, theirs) in self.registers().iter_mut().zip(theirs) {
                    *mine = (*mine).max(*theirs);
                }
            }
        }
        Ok(())
    }

    /// The set of hashes at its largest takes more than the registers.
    fn bytes((): &()) -> u64 {
        128 << 10
    }
}

impl SeenContexts {
    fn add(&mut self, hash: u64) {
        match &mut self.different {
            Different::Exact(hashes) => {
                hashes.insert(hash);
                if hashes.len() > EXACT {
                    self.registers();
                }
            }
            Different::Registers(registers) => enter(registers, hash),
        }
    }

    /// The registers, made of the exact hashes where they are not there yet.
    fn registers(&mut self) -> &mut Vec<u8> {
        if let Different::Exact(hashes) = &self.different {
            let mut registers = vec![0; REGISTERS];
            hashes.iter().for_each(|h| enter(&mut registers, *h));
            self.different = Different::Registers(registers);
        }
        match &mut self.different {
            Different::Registers(registers) => registers,
            Different::Exact(_) => unreachable!("made above"),
        }
    }

    /// The share of contexts that were there before; `None` before the first context.
    pub fn repeated(&self) -> Option<Repeated> {
        if self.n == 0 {
            return None;
        }
        let n = self.n as f64;
        let (different, relative_error) = match &self.different {
            Different::Exact(hashes) => (hashes.len() as f64, 0.0),
            Different::Registers(registers) => (estimate(registers), (3.0 * 2f64.ln() - 1.0).sqrt() / 256.0),
        };
        // an estimate may lie above what there is
        let different = different.min(n);
        Some(Repeated { contexts: self.n, share: 1.0 - different / n, error: relative_error * different / n })
    }

    /// Contexts; hashes, ascending, while they are exact; registers afterwards.
    fn parts(&self) -> (u64, Vec<u64>, &[u8]) {
        match &self.different {
            Different::Exact(hashes) => (self.n, hashes.iter().copied().collect(), &[]),
            Different::Registers(registers) => (self.n, Vec::new(), registers),
        }
    }

    /// From its parts, as a state file holds them; `None` where they do not fit together.
    fn from_parts(n: u64, hashes: Vec<u64>, registers: Vec<u8>) -> Option<SeenContexts> {
        let ascending = hashes.windows(2).all(|w| w[0] < w[1]);
        let different = match (hashes.len(), registers.len()) {
            (k, 0) if k <= EXACT && k as u64 <= n && ascending => Different::Exact(hashes.into_iter().collect()),
            (0, REGISTERS) if registers.iter().all(|r| usize::from(*r) <= Q + 1) => Different::Registers(registers),
            _ => return None,
        };
        Some(SeenContexts { n, different })
    }
}

/// The first tokens of a context as 64 bits.
fn hash_of(ids: &[u32]) -> u64 {
    ids.iter().take(HEAD).fold(0, |h: u64, id| mixed(h.wrapping_add(u64::from(*id) + 1)))
}

fn enter(registers: &mut [u8], hash: u64) {
    let at = (hash >> Q) as usize;
    // the bit behind the last one ends the count of zeros
    let rank = ((hash << P) | (1 << (P - 1))).leading_zeros() as u8 + 1;
    registers[at] = registers[at].max(rank);
}

/// How many different hashes were entered (Ertl 2017, algorithm 6).
fn estimate(registers: &[u8]) -> f64 {
    let mut counts = [0u32; Q + 2];
    registers.iter().for_each(|r| counts[usize::from(*r)] += 1);
    let m = registers.len() as f64;
    let mut z = m * tau(1.0 - f64::from(counts[Q + 1]) / m);
    for k in (1..=Q).rev() {
        z = 0.5 * (z + f64::from(counts[k]));
    }
    z += m * sigma(f64::from(counts[0]) / m);
    m * m / (2.0 * 2f64.ln() * z)
}

/// x + Σ 2^(k−1) x^(2^k); infinite at 1, where no register was entered.
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// (1 − x − Σ (1 − x^(2^−k))² 2^−k) / 3
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Context;
    use crate::moments::accumulator::tests::keeps_the_contract;
    use std::collections::HashSet;

    fn batch(contexts: impl Iterator<Item = Vec<u32>>) -> TokenView {
        let context = |ids: Vec<u32>| Context { row_of: vec![None; ids.len()], ids };
        TokenView { first_token: 0, contexts: contexts.map(context).collect() }
    }

    /// Context number `k`: different numbers, different first tokens.
    fn numbered(k: u64, length: usize) -> Vec<u32> {
        (0..length as u64).map(|p| (mixed(k.wrapping_mul(977) + p) >> 40) as u32).collect()
    }

    #[test]
    fn a_few_contexts_are_counted_exactly_by_their_first_tokens() {
        let mut seen = SeenContexts::default();
        assert_eq!(seen.repeated(), None);
        let head = numbered(1, HEAD);
        let longer = |more: u32| head.iter().copied().chain([more]).collect::<Vec<u32>>();
        // the same head twice, once with other tokens behind; a short one twice, which is not looked at
        let shorter = numbered(2, LEAST - 1);
        seen.fold(&batch(
            [longer(7), longer(8), numbered(3, LEAST), shorter.clone(), shorter, numbered(4, 64)].into_iter(),
        ))
        .unwrap();
        assert_eq!(seen.repeated(), Some(Repeated { contexts: 4, share: 0.25, error: 0.0 }));
        // a context cut off is another one than the whole
        seen.fold(&batch([head[..HEAD - 1].to_vec(), vec![0; LEAST], vec![0; LEAST + 1]].into_iter())).unwrap();
        assert_eq!(seen.repeated().map(|r| r.share), Some(1.0 - 6.0 / 7.0));
    }

    #[test]
    fn many_contexts_are_within_the_error_that_is_stated() {
        // against a plain set, with a quarter that comes again and one that comes very often
        for n in [EXACT as u64, 5_000, 60_000, 400_000] {
            let (mut seen, mut plain, mut total) = (SeenContexts::default(), HashSet::new(), 0u64);
            let often = (0..n / 5).map(|_| 0);
            let ids = (0..n).chain(0..n / 4).chain(often).map(|k| numbered(k, HEAD));
            let all: Vec<Vec<u32>> = ids.collect();
            for some in all.chunks(500) {
                seen.fold(&batch(some.iter().cloned())).unwrap();
                total += some.len() as u64;
                plain.extend(some.iter().cloned());
            }
            let (found, share) = (seen.repeated().unwrap(), 1.0 - plain.len() as f64 / total as f64);
            println!("{n}: {share:.5} is told as {:.5} ± {:.5}", found.share, found.error);
            assert_eq!((found.contexts, found.error == 0.0), (total, n == EXACT as u64));
            assert!((found.share - share).abs() <= 3.5 * found.error + 1e-15, "{found:?}, plain {share}");
        }
    }

    #[test]
    fn the_estimate_is_unbiased_over_the_whole_range() {
        // registers of 2^16, mean relative error of 8 draws; its own standard error is 0.41 % / √8
        for n in [1u64, 100, 4_000, 30_000, 100_000, 1_000_000] {
            let mean = (0..8u64)
                .map(|draw| {
                    let mut registers = vec![0; REGISTERS];
                    (0..n).for_each(|k| enter(&mut registers, mixed(mixed(draw + 1) ^ k)));
                    estimate(&registers) / n as f64 - 1.0
                })
                .sum::<f64>()
                / 8.0;
            assert!(mean.abs() < 0.005, "{n}: {mean}");
        }
    }

    #[test]
    fn an_estimate_above_what_there_is_makes_no_share_below_nothing() {
        let mut above = 0;
        for draw in 0..6u64 {
            let n = 5_000;
            let mut seen = SeenContexts::default();
            seen.fold(&batch((0..n).map(|k| numbered(draw * n + k, HEAD)))).unwrap();
            let Different::Registers(registers) = &seen.different else { panic!("{n} contexts are counted exactly") };
            above += u32::from(estimate(registers) > n as f64);
            let found = seen.repeated().unwrap();
            assert!((0.0..0.02).contains(&found.share), "{found:?}");
        }
        assert!(above > 0, "no draw's estimate lies above");
    }

    /// `benches/peers/seen.py` fills the same registers and has datasketch's HyperLogLog++ read them: another estimator of the same
    /// registers, which corrects its bias by tables; half their common error is left between the two.
    #[test]
    fn the_same_registers_are_read_as_datasketch_reads_them() {
        let text = std::fs::read_to_string("tests/fixtures/seen.json").unwrap();
        let fixture: serde_json::Value = serde_json::from_str(&text).unwrap();
        for case in fixture["cases"].as_array().unwrap() {
            let (n, theirs) = (case["n"].as_u64().unwrap(), case["count"].as_f64().unwrap());
            let mut registers = vec![0; REGISTERS];
            (0..n).for_each(|k| enter(&mut registers, mixed(k)));
            let ours = estimate(&registers);
            println!("{n}: {ours:.1}, theirs {theirs:.1}");
            assert!((ours / theirs - 1.0).abs() < 0.002, "{n}: {ours}, theirs {theirs}");
        }
    }

    #[test]
    fn order_and_merging_change_no_bit() {
        for n in [100u64, 3_000, 20_000] {
            let all: Vec<Vec<u32>> = (0..n).chain(0..n / 3).map(|k| numbered(k, 40)).collect();
            let of = |contexts: &[Vec<u32>]| {
                let mut seen = SeenContexts::default();
                seen.fold(&batch(contexts.iter().cloned())).unwrap();
                seen
            };
            let whole = of(&all);
            let reversed: Vec<Vec<u32>> = all.iter().rev().cloned().collect();
            assert_eq!(of(&reversed), whole);
            for cut in [0, all.len() / 7, all.len() / 2, all.len()] {
                let (mut a, b) = (of(&all[..cut]), of(&all[cut..]));
                a.merge(&b).unwrap();
                assert_eq!(a, whole, "{n} cut at {cut}");
            }
            let (contexts, hashes, registers) = whole.parts();
            assert_eq!(hashes.is_empty(), n == 20_000);
            assert_eq!(SeenContexts::from_parts(contexts, hashes, registers.to_vec()), Some(whole.clone()));
        }
        for (hashes, registers) in [(vec![2, 1], vec![]), (vec![], vec![0; 9]), (vec![1], vec![0; REGISTERS])] {
            assert_eq!(SeenContexts::from_parts(9, hashes, registers), None);
        }
        assert_eq!(SeenContexts::from_parts(9, vec![], vec![50; REGISTERS]), None);
        assert_eq!(SeenContexts::from_parts(1, vec![1, 2], vec![]), None, "more different contexts than contexts");
        assert!(SeenContexts::from_parts(2, vec![1, 2], vec![]).is_some());
    }

    #[test]
    fn hashes_and_registers_go_through_a_file() {
        let of = |numbers: std::ops::Range<u64>| {
            let mut seen = SeenContexts::default();
            seen.fold(&batch(numbers.map(|k| numbered(k, 16)))).unwrap();
            seen
        };
        for [a, b] in [[of(0..40), of(30..90)], [of(0..40), of(9..5000)], [of(0..6000), of(5000..7000)]] {
            keeps_the_contract(&SeenContexts::default(), [&a, &b], None);
        }
    }
}
