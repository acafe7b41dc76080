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
                let mut out = across_models(self.saes.keys());
                let raw = &self.compare.hookpoints;
                if raw.iter().any(|site| site.model != raw[0].model) {
                    out.extend(across_models(raw.iter()));
                } else {
                    out.extend(
                        (0..raw.len()).flat_map(|k| raw[k + 1..].iter().map(move |b| (raw[k].clone(), b.clone()))),
                    );
                }
                out
            }
        }
    }
}

/// Every site of a model with every site of a model after it in the alphabet.
fn across_models<'a>(sites: impl Iterator<Item = &'a SiteName> + Clone) -> Vec<(SiteName, SiteName)> {
    let later = |a: &'a SiteName| sites.clone().filter(|b| a.model < b.model).map(move |b| (a.clone(), b.clone()));
    sites.clone().flat_map(later).collect()
}
