//! Which places does a dataflow file name, once the families of its models are known?
//!
//! A file may write a hookpoint in its plain form or in another library's form, whose meaning depends on the model's family
//! ([`resolve`](crate::ids::resolve())). From here on every hookpoint is in its plain form: both ways of writing give the same
//! run.

use super::{DataflowSpec, PairsSpec};
use crate::error::{Error, Result};
use crate::ids::{Site, SiteName};
use std::collections::BTreeMap;

impl DataflowSpec {
    /// The file with every place in its plain form. `families`: of each model by its name, as
    /// [`ModelShape::names`](crate::model::ModelShape::names) gives it.
    ///
    /// # Errors
    /// `Request` for a name that means no place in its model's family, and for two SAEs or two listed places that are one,
    /// naming both as they are written.
    pub fn resolved(&self, families: &BTreeMap<String, String>) -> Result<DataflowSpec> {
        let site = |name: &SiteName| -> Result<Site> {
            let family = families.get(&name.model).expect("the spec knows every site's model");
            name.resolve(family)
        };
        let mut out = self.clone();
        let mut written: BTreeMap<Site, &SiteName> = BTreeMap::new();
        out.saes.clear();
        for (name, sae) in &self.saes {
            let place = site(name)?;
            if let Some(before) = written.insert(place.clone(), name) {
                return Err(twice("[saes]", before, name, &place));
            }
            out.saes.insert(place.into(), sae.clone());
        }
        let mut listed: BTreeMap<Site, &SiteName> = BTreeMap::new();
        for (name, out) in self.compare.hookpoints.iter().zip(&mut out.compare.hookpoints) {
            let place = site(name)?;
            if let Some(before) = listed.insert(place.clone(), name) {
                return Err(twice("compare.hookpoints", before, name, &place));
            }
            if let Some(sae) = written.get(&place) {
                return Err(Error::request(format!(
                    "compare.hookpoints names {name}, which has an SAE in [saes.\"{sae}\"]; a place is compared by its SAE's \
                     latents or as it is, not both: take one of them out"
                )));
            }
            *out = place.into();
        }
        if let (PairsSpec::Listed(pairs), PairsSpec::Listed(out)) = (&self.compare.pairs, &mut out.compare.pairs) {
            let mut seen: BTreeMap<(Site, Site), &(SiteName, SiteName)> = BTreeMap::new();
            for (pair, out) in pairs.iter().zip(out) {
                let (source, target) = (site(&pair.0)?, site(&pair.1)?);
                if let Some(before) = seen.insert((source.clone(), target.clone()), pair) {
                    let also = if before == pair {
                        String::new()
                    } else {
                        format!(" (also as {} with {})", before.0, before.1)
                    };
                    return Err(Error::request(format!(
                        "compare.pairs names {} with {} twice{also}; name it once",
                        pair.0, pair.1
                    )));
                }
                if let Some(mirrored) = seen.get(&(target.clone(), source.clone())).filter(|_| source != target) {
                    return Err(Error::request(format!(
                        "compare.pairs names {} with {} and {} with {}; a pair is matched in both directions, so take one of them out",
                        mirrored.0, mirrored.1, pair.0, pair.1
                    )));
                }
                *out = (source.into(), target.into());
            }
        }
        Ok(out)
    }

    /// Every pair asked for, source first, in order, of a file whose places are [`resolved`](Self::resolved).
    ///
    /// # Panics
    /// Where they are not.
    pub fn site_pairs(&self) -> Vec<(Site, Site)> {
        let site = |name: &SiteName| name.plain().expect("places are resolved before pairs are made");
        self.pairs().iter().map(|(a, b)| (site(a), site(b))).collect()
    }

    /// Every place that the file names, as written.
    pub fn written_places(&self) -> impl Iterator<Item = &SiteName> {
        let listed = self.listed_pairs().iter().flat_map(|(a, b)| [a, b]);
        self.saes.keys().chain(&self.compare.hookpoints).chain(listed)
    }
}

fn twice(place: &str, before: &SiteName, name: &SiteName, site: &Site) -> Error {
    let what =
        if before == name { format!("{name} twice") } else { format!("{before} and {name}, which are both {site}") };
    Error::request(format!("{place} names {what}; name it once"))
}
