//! What does a dataflow file ask for twice, or ask for that nothing here listens to? A key at its default asks for nothing; any
//! other value either changes the run or is refused, with what would make it count. A feature that is switched off in so many words
//! (`measures = []`, `doctor = "off"`) takes the keys of how it would be done with it: they may stay for the day it is switched on.

use super::compare::{default_candidates, default_width};
use super::{Cross, DataflowSpec, EstimateSpec, NullAt, NullSpec, Refine};
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

    /// Keys of how sums are kept, of what is remembered and of the check.
    fn idle_sums(&self, written: &toml::Table) -> Vec<Idle> {
        const A_SKETCHS: &str = "it is about sketches, and compare.cross = \"exact\" keeps none; take it out, or write cross = \
                                 \"sketch\" or \"auto\"";
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
            (
                "estimate.null.documents = true",
                compare.cross == Cross::Sketch && asked(["estimate", "null", "documents"]),
                "chance levels of matches need exact sums, and compare.cross = \"sketch\" keeps none; take it out, or write cross = \
                 \"exact\"",
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
