//! What can be wrong in a dataflow file, judged by its values alone? Each refusal names the key, what was found and what to do.

use super::path::titled;
use super::{CompareSpec, Cross, DataflowSpec, FORMAT, PairsSpec};
use crate::error::{Error, Result};
use crate::ids::SiteName;
use crate::matching::{AROUND, TOP_STRINGS};
use crate::similarity::MomentsMeasure;
use std::path::Path;

impl DataflowSpec {
    /// What a value alone can have wrong.
    pub(super) fn check(&self, path: &Path, written: &toml::Table) -> Result<()> {
        let fail = |what: String| Err(Error::request(format!("{}: {what}", titled(path))));
        if self.format != FORMAT {
            return fail(format!(
                "format is {}, this version reads format {FORMAT}; write format = {FORMAT}",
                self.format
            ));
        }
        if self.name.is_empty()
            || !self.name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
            || self.name.starts_with('.')
        {
            return fail(format!(
                "name is {:?}; use letters, digits, '-', '_' and '.', for it names the run's folder",
                self.name
            ));
        }
        self.check_numbers().or_else(fail)?;
        let (estimate, top) = (&self.estimate, self.estimate.top_tokens);
        if (estimate.filters.reads_tokens() || estimate.categories.is_some()) && top < TOP_STRINGS {
            return fail(format!(
                "estimate.top_tokens is {top}, but categories and the filters non_concept and shared_token look at the \
                 {TOP_STRINGS} top-activating tokens; remember at least {TOP_STRINGS}"
            ));
        }
        let [before, after] = estimate.top_context;
        if estimate.categories.is_some() && (before < AROUND[0] || after < AROUND[1]) {
            return fail(format!(
                "estimate.top_context is [{before}, {after}], but categories look at {} tokens before a strongest one and {} after",
                AROUND[0], AROUND[1]
            ));
        }
        if self.estimate.categories.is_some() && self.compare.cross != Cross::Exact {
            return fail(
                "estimate.categories pairs latents inside each category, which takes the sums of all of them; write \
                 compare.cross = \"exact\""
                    .into(),
            );
        }
        let CompareSpec { width, candidates, .. } = self.compare;
        let few = candidates < self.estimate.best && self.compare.cross != Cross::Exact;
        if !(16..=1 << 20).contains(&width) || few || !(1..=1000).contains(&candidates) {
            return fail(format!(
                "compare.width is {width} and compare.candidates {candidates}; expected 16 to 1048576 buckets and estimate.best \
                 ({}) to 1000 candidates",
                self.estimate.best
            ));
        }
        if let Some(m) = self.estimate.activation_measures.iter().find(|m| MomentsMeasure::of(**m).is_none()) {
            return fail(format!(
                "estimate.activation_measures holds {m}, which needs the rows themselves; expected svcca…, cka, cka_debiased or procrustes"
            ));
        }
        if let PairsSpec::Listed(pairs) = &self.compare.pairs
            && pairs.is_empty()
        {
            return fail("compare.pairs is empty; name at least one pair, or write pairs = \"all\"".into());
        }
        for name in self.models.keys() {
            if name.is_empty() || name.contains('/') {
                return fail(format!("model name {name:?} is empty or holds a '/'; sites are written MODEL/HOOKPOINT"));
            }
        }
        for (name, model) in &self.models {
            model.compute().check().map_err(|e| e.within(format!("{}: models.{name}", titled(path))))?;
        }
        for (site, sae) in &self.saes {
            self.model_of(site, "saes", path)?;
            if let Some(scale) = sae.scale.filter(|scale| !(scale.is_finite() && *scale > 0.0)) {
                return fail(format!(
                    "saes.\"{site}\".scale is {scale}, expected a positive number: activations are multiplied by it before the SAE"
                ));
            }
        }
        self.check_feeds().or_else(fail)?;
        self.check_hookpoints(path)?;
        for (a, b) in self.listed_pairs() {
            for site in [a, b] {
                self.model_of(site, "compare.pairs", path)?;
            }
        }
        self.check_controls().or_else(fail)?;
        self.check_effect(written).or_else(fail)
    }

    /// What `compare.hookpoints` can have wrong.
    fn check_hookpoints(&self, path: &Path) -> Result<()> {
        let fail = |what: String| Err(Error::request(format!("{}: {what}", titled(path))));
        let listed = &self.compare.hookpoints;
        if !listed.is_empty() && !self.listed_pairs().is_empty() {
            return fail(
                "compare.hookpoints selects what pairs = \"all\" pairs, but the pairs are listed; write pairs = \"all\", or \
                 leave hookpoints out: a listed pair may name any place"
                    .into(),
            );
        }
        for (k, site) in listed.iter().enumerate() {
            self.model_of(site, "compare.hookpoints", path)?;
            if listed[..k].contains(site) {
                return fail(format!("compare.hookpoints names {site} twice; name it once"));
            }
            if self.saes.contains_key(site) {
                return fail(format!(
                    "compare.hookpoints names {site}, which has an SAE in [saes.\"{site}\"]; a place is compared by its SAE's \
                     latents or as it is, not both: take one of them out"
                ));
            }
        }
        Ok(())
    }

    fn model_of(&self, site: &SiteName, place: &str, path: &Path) -> Result<()> {
        if self.models.contains_key(&site.model) {
            return Ok(());
        }
        let known: Vec<&str> = self.models.keys().map(String::as_str).collect();
        Err(Error::request(format!(
            "{}: {place} names {site}, but there is no [models.{}]; models here: {}",
            titled(path),
            site.model,
            known.join(", ")
        )))
    }
}
