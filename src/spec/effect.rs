//! Which keys of a dataflow file are given twice, or have no effect? A key at its default asks for nothing. Any other
//! value either changes the run or is refused with what would give it an effect. When a feature is switched off
//! explicitly (`measures = []`, `doctor = "off"`), the keys that describe the feature may stay in the file.

use super::compare::{default_candidates, default_width};
use super::{Cross, DataflowSpec, EstimateSpec, NullAt, NullSpec, Refine};
use crate::corpus::{Remainder, RowUnit};
use crate::matching::Rules;
use crate::similarity::Measure;

/// A key, whether it changes nothing here, and the message for that case.
type Idle = (&'static str, bool, &'static str);

impl DataflowSpec {
    /// What follows from the values alone. `written` is the file as a table.
    ///
    /// # Errors
    /// The message.
    pub(super) fn check_effect(&self, written: &toml::Table) -> Result<(), String> {
        self.check_once()?;
        self.check_random()?;
        if self.estimate.filters.beyond_chance && (!self.estimate.null.documents || self.compare.cross == Cross::Sketch)
        {
            return Err("estimate.filters.beyond_chance compares with chance points, which null.documents = true and compare.cross = \
                        \"exact\" give; set them, or take the filter out"
                .to_string());
        }
        if self.compare.unit == Some(RowUnit::Document) && self.corpus.remainder == Remainder::Drop && !self.corpus.pack
        {
            return Err("corpus.remainder = \"drop\" leaves out the rows of short contexts, and with compare.unit = \"document\" that is \
                        nearly every document; take one of them out, or set corpus.pack = true"
                .to_string());
        }
        let given = self.estimate.null.given.key().is_some() && self.estimate.listed > 0;
        if self.estimate.filters.min_within.is_some() && !given {
            return Err("estimate.filters.min_within asks for the correlation given the token, which is counted of listed partners; \
                        leave null.given on and estimate.listed at 1 or more, or take the filter out"
                .to_string());
        }
        let idle = self.idle_sums(written).into_iter().chain(self.idle_scores(written));
        match idle.into_iter().find(|(_, is_idle, _)| *is_idle) {
            Some((key, _, why)) => Err(format!("{key} changes nothing here: {why}")),
            None => Ok(()),
        }
    }

    /// Lists that name a thing twice.
    fn check_once(&self) -> Result<(), String> {
        let estimate = &self.estimate;
        let names = |measures: &[Measure]| measures.iter().map(Measure::to_string).collect::<Vec<_>>();
        let lists = [
            ("corpus.files", self.corpus.files.clone()),
            ("corpus.labels", self.corpus.labels.clone()),
            ("estimate.measures", names(&estimate.measures)),
            ("estimate.activation_measures", names(&estimate.activation_measures)),
            ("estimate.pairings", estimate.pairings.iter().map(|p| p.as_str().to_string()).collect()),
            (
                "estimate.filters.non_concept",
                estimate.filters.non_concept.iter().map(|n| n.as_str().to_string()).collect(),
            ),
        ];
        for (key, list) in lists {
            if let Some(twice) = (1..list.len()).find(|&k| list[..k].contains(&list[k])) {
                return Err(format!("{key} names {:?} twice; name it once", list[twice]));
            }
        }
        Ok(())
    }

    /// Keys of an SAE that a random one in its place does not have.
    fn check_random(&self) -> Result<(), String> {
        for (site, sae) in self.saes.iter().filter(|(_, sae)| sae.random.is_some()) {
            let keys = [("subtract_b_dec", sae.subtract_b_dec.is_some()), ("scale", sae.scale.is_some())];
            if let Some((key, _)) = keys.iter().find(|(_, is_set)| *is_set) {
                return Err(format!(
                    "saes.\"{site}\".{key} changes nothing here: a random SAE has no decoder bias and takes its input unscaled; take \
                     {key} or random out"
                ));
            }
        }
        Ok(())
    }

    /// Keys of how sums are kept, of what is remembered and of the check.
    fn idle_sums(&self, written: &toml::Table) -> Vec<Idle> {
        const A_SKETCHS: &str = "it is about sketches, and compare.cross = \"exact\" keeps none; take it out, or write cross = \
                                 \"sketch\" or \"auto\"";
        const OF_SPANS: &str = "it is about rows of several tokens, and with compare.align = \"token\" each row is one; take it out, or \
                                write align = \"span\" or a unit";
        let (compare, estimate) = (&self.compare, &self.estimate);
        let exact = compare.cross == Cross::Exact;
        let asked = |keys: [&str; 3]| {
            let null = written.get(keys[0]).and_then(|t| t.get(keys[1]));
            null.and_then(|t| t.get(keys[2])).and_then(toml::Value::as_bool) == Some(true)
        };
        vec![
            ("compare.width", exact && compare.width != default_width(), A_SKETCHS),
            ("compare.candidates", exact && compare.candidates != default_candidates(), A_SKETCHS),
            ("compare.refine", exact && compare.refine != Refine::default(), A_SKETCHS),
            ("compare.span_contexts", !compare.is_of_text() && compare.span_contexts.is_some(), OF_SPANS),
            ("compare.pool", !compare.is_of_text() && compare.pool.is_some(), OF_SPANS),
            (
                "corpus.count_special",
                compare.is_of_text() && self.corpus.count_special,
                "it makes rows of BOS and EOS, and with compare.align = \"span\" or a unit a row is a piece of text; take it out",
            ),
            (
                "corpus.shuffle",
                compare.unit == Some(RowUnit::Document) && self.corpus.shuffle.is_some(),
                "it permutes the rows of a document, and with compare.unit = \"document\" there is one; take one of them out",
            ),
            (
                "estimate.null.documents = true",
                compare.cross == Cross::Sketch && asked(["estimate", "null", "documents"]),
                "chance levels of matches need exact sums, and compare.cross = \"sketch\" keeps none; take it out, or write cross = \
                 \"exact\"",
            ),
            (
                "estimate.null.given, mode = \"full\",",
                compare.cross == Cross::Sketch && estimate.null.given.is_full(),
                "it needs exact sums, and compare.cross = \"sketch\" keeps none; leave mode out, or write cross = \"exact\"",
            ),
            (
                "estimate.filters.dead = false",
                !estimate.filters.dead && estimate.rules == Rules::Meant,
                "a latent that never fired has no partner, unless rules = \"as_published\"; take it out",
            ),
            (
                "estimate.top_context",
                estimate.top_tokens == 0 && estimate.top_context != EstimateSpec::default().top_context,
                "top_tokens = 0 remembers no token; take it out, or remember some",
            ),
        ]
    }

    /// Keys of scores and of their nulls.
    fn idle_scores(&self, written: &toml::Table) -> Vec<Idle> {
        const NO_MEASURES: &str = "estimate.measures names no score of decoder rows; name one there, or take this out";
        let (estimate, null, usual) = (&self.estimate, &self.estimate.null, NullSpec::default());
        let meant = EstimateSpec::of_rules(estimate.rules);
        let no_rows = estimate.measures.is_empty();
        let forgotten = |key: &str| written.get("estimate").and_then(|e| e.get(key)).is_none();
        let no_row_nulls = no_rows && forgotten("measures");
        vec![
            ("estimate.pairings", no_rows && estimate.pairings != meant.pairings, NO_MEASURES),
            (
                "estimate.measures",
                !no_rows && estimate.pairings.is_empty(),
                "estimate.pairings is empty, so no decoder rows are laid side by side; name \"forward\", \"backward\" or \"mutual\" \
                 there, or take measures out",
            ),
            ("estimate.null.permutations", no_row_nulls && null.permutations != usual.permutations, NO_MEASURES),
            ("estimate.null.at", no_row_nulls && null.at != NullAt::default(), NO_MEASURES),
            (
                "estimate.null.at",
                null.permutations == 0 && null.at != NullAt::default(),
                "null.permutations = 0 draws no null; take it out, or draw some",
            ),
            (
                "estimate.null.activation_permutations",
                estimate.activation_measures.is_empty()
                    && forgotten("activation_measures")
                    && null.activation_permutations != usual.activation_permutations,
                "estimate.activation_measures names no score of raw activations; name one there, or take this out",
            ),
        ]
    }
}
