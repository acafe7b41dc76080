//! Which pairs were asked for, listed or not?

use super::{DataflowSpec, PairsSpec};
use crate::ids::SiteName;

impl DataflowSpec {
    pub(super) fn listed_pairs(&self) -> &[(SiteName, SiteName)] {
        match &self.compare.pairs {
            PairsSpec::Listed(pairs) => pairs,
            PairsSpec::All(_) => &[],
        }
    }

    /// Every pair asked for, source first, in order, as written.
    pub fn pairs(&self) -> Vec<(SiteName, SiteName)> {
        match &self.compare.pairs {
            PairsSpec::Listed(pairs) => pairs.clone(),
            PairsSpec::All(_) => {
                let mut saes: Vec<&SiteName> = self.saes.keys().collect();
                saes.sort_by_cached_key(|site| {
                    (site.model.clone(), by_number(&site.hookpoint.to_string()), site.tag.clone())
                });
                let raw: Vec<&SiteName> = self.compare.hookpoints.iter().collect();
                [every_two(&saes), every_two(&raw)].concat()
            }
        }
    }
}

/// Every site of a model with every site of a model after it in the alphabet; of one model, every site with every later one.
fn every_two(sites: &[&SiteName]) -> Vec<(SiteName, SiteName)> {
    let one_model = sites.iter().all(|site| site.model == sites[0].model);
    let mut pairs = Vec::new();
    for (k, a) in sites.iter().enumerate() {
        let others = if one_model { &sites[k + 1..] } else { sites };
        let meets = |b: &&&SiteName| one_model || a.model < b.model;
        pairs.extend(others.iter().filter(meets).map(|b| ((*a).clone(), (*b).clone())));
    }
    pairs
}

/// What orders names as people count: `resid_post.9` before `resid_post.10`.
fn by_number(name: &str) -> Vec<(u64, String)> {
    let pieces = name.split_inclusive(|c: char| !c.is_ascii_digit());
    pieces
        .map(|piece| {
            let digits = piece.find(|c: char| !c.is_ascii_digit()).unwrap_or(piece.len());
            let (number, text) = piece.split_at(digits);
            (number.parse().unwrap_or(u64::MAX), text.to_string())
        })
        .collect()
}
