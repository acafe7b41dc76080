//! Do best partners lead back? From a latent of A to its best partner in B, from there to the best in C, from there to
//! the best in A: the share of latents that return to themselves. It needs no threshold and no filter, and is about 0
//! where the matches are chance.
//!
//! A cycle is the same from wherever it begins, so a triple has two counts, one for each way round.

use super::graph::Places;
use std::collections::BTreeMap;

/// Three places in the order in which they are gone through; the first is the lowest.
pub type Triple = [u32; 3];

/// How many latents return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cycle {
    /// Latents of the first place from which the way leads all round.
    pub latents: u64,
    /// Those of them that it leads back to.
    pub returned: u64,
}

/// Both ways round each three places of which each two are compared, in order of the triple. `best[pair][direction][latent]` is the
/// best partner, `None` where there is none.
pub fn cycles(places: &Places, best: &[[Vec<Option<u32>>; 2]]) -> BTreeMap<Triple, Cycle> {
    let mut steps: BTreeMap<[u32; 2], &[Option<u32>]> = BTreeMap::new();
    for (p, [forward, backward]) in best.iter().enumerate() {
        if let Some([source, target]) = places.joined(p) {
            steps.entry([source, target]).or_insert(forward);
            steps.entry([target, source]).or_insert(backward);
        }
    }
    let n = places.model_of.len() as u32;
    let mut out = BTreeMap::new();
    for a in 0..n {
        for (b, c) in (a + 1..n).flat_map(|b| (a + 1..n).map(move |c| (b, c))).filter(|(b, c)| b != c) {
            let [Some(ab), Some(bc), Some(ca)] = [[a, b], [b, c], [c, a]].map(|step| steps.get(&step)) else {
                continue;
            };
            let mut cycle = Cycle::default();
            for latent in 0..ab.len() {
                let there = ab[latent].and_then(|j| bc[j as usize]).and_then(|k| ca[k as usize]);
                cycle.latents += u64::from(there.is_some());
                cycle.returned += u64::from(there == Some(latent as u32));
            }
            out.insert([a, b, c], cycle);
        }
    }
    out
}
