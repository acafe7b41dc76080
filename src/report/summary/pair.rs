//! One pair in full: every count with the count by chance, every score with its null, the best matches with their tokens.

use crate::matching::HOLDS_WITHIN;
use crate::report::{shown_sd, shown_token};
use crate::table::{MatchRow, PairRow, SimilarityRow, TopTokenCell};
use crate::units::thousands;
use serde_json::{Value, json};
use std::fmt::Write;

/// Top tokens shown a side.
const TOKENS_SHOWN: usize = 3;

/// The results of a pair.
#[derive(Clone, Debug)]
pub(super) struct PairSummary {
    pub row: PairRow,
    /// What a row has in common with its partner: token, bigram or position; `None` where rows have none.
    pub given: Option<String>,
    /// Share of latents whose best partner changed since the snapshot before.
    pub churn: Option<f64>,
    pub scores: Vec<SimilarityRow>,
    pub best: Vec<BestPair>,
    pub min_within: MinWithin,
}

/// What `filters.min_within` did with the matches that reached it, source picking: undefined correlations are no evidence either way, and
/// are dropped.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MinWithin {
    /// Kept, dropped for their correlation given the token, or by a later filter.
    pub known: u64,
    /// Dropped because there is none.
    pub unknown: u64,
}

impl MinWithin {
    /// Share of undefined ones above which it is worth a word.
    const MANY: f64 = 0.1;

    pub(super) fn add(&mut self, row: &MatchRow) {
        let passed = row.kept || matches!(row.dropped_by.as_deref(), Some("mutual" | "one_to_one"));
        let fell = row.dropped_by.as_deref() == Some("min_within");
        let has = row.listed.within_correlation.is_some();
        self.known += u64::from(passed || (fell && has));
        self.unknown += u64::from(fell && !has);
    }

    /// The caution, where many matches fell unseen.
    pub(super) fn caution(&self) -> Option<String> {
        let all = self.known + self.unknown;
        (self.unknown as f64 > Self::MANY * all as f64).then(|| {
            format!(
                "filters.min_within dropped {} of {} matches because their r given the token is not known: partners are counted from the \
                 first snapshot or 16 384 tokens on, and need rows of one token in several documents; read more tokens, or lower \
                 estimate.snapshot_every",
                thousands(self.unknown),
                thousands(all)
            )
        })
    }
}

/// A kept match in which each is the other's best.
#[derive(Clone, Debug)]
pub(super) struct BestPair {
    pub source: u32,
    pub target: u32,
    pub correlation: f64,
    /// Chance point of the source latent.
    pub point: Option<f64>,
    /// r of what is left given the token, and the same by chance.
    pub within: Option<[Option<f64>; 2]>,
    /// Tokens on which the source latent fired, and the target latent.
    pub n_active: [u64; 2],
    pub source_top: Vec<TopTokenCell>,
    pub target_top: Vec<TopTokenCell>,
}

impl PairSummary {
    /// `rule`: why this pair is the one that is shown.
    pub(super) fn write(&self, rule: Option<&str>, out: &mut String) -> std::fmt::Result {
        let (row, c) = (&self.row, &self.row.counts);
        writeln!(out, "\n{} x {}", row.pair.source, row.pair.target)?;
        if let Some(rule) = rule {
            writeln!(out, "  closest       {rule}")?;
        }
        writeln!(
            out,
            "  alive         {} of {} and {} of {} latents",
            thousands(c.n_alive_source),
            thousands(row.n_latents_source),
            thousands(c.n_alive_target),
            thousands(row.n_latents_target)
        )?;
        let mean = |r: Option<f64>, null: Option<f64>| match (r, null) {
            (None, _) => "undefined".to_string(),
            (Some(r), null) => format!("{r:.3} ({})", chance(null.map(|n| format!("{n:.3}")))),
        };
        writeln!(
            out,
            "  mean best r   {} forward, {} backward",
            mean(c.mean_best_correlation_forward, c.null_mean_best_correlation_forward),
            mean(c.mean_best_correlation_backward, c.null_mean_best_correlation_backward)
        )?;
        let count = |n: u64, null: Option<u64>| format!("{} ({})", thousands(n), chance(null.map(thousands)));
        let above = c.n_mutual_above_chance.map_or(String::new(), |n| {
            format!("; above both chance points {}", count(n, c.n_mutual_above_chance_null))
        });
        writeln!(out, "  mutual        {}{above}", count(c.n_mutual, c.n_mutual_null))?;
        if let Some(key) = self.given.as_deref().filter(|_| c.n_mutual_given > 0) {
            writeln!(
                out,
                "  given {key:<7} {} of {} mutual matches still have r >= {HOLDS_WITHIN} (chance {})",
                thousands(c.n_mutual_within),
                thousands(c.n_mutual_given),
                thousands(c.n_mutual_within_null)
            )?;
        }
        writeln!(
            out,
            "  partners      {} targets and {} sources are some latent's best partner",
            count(c.n_distinct_partners_forward, c.n_distinct_partners_forward_null),
            count(c.n_distinct_partners_backward, c.n_distinct_partners_backward_null)
        )?;
        writeln!(
            out,
            "  kept          {} forward, {} backward",
            count(c.n_kept, c.n_kept_null),
            count(c.n_kept_backward, c.n_kept_backward_null)
        )?;
        if let Some(churn) = self.churn {
            writeln!(out, "  changed       {:.1} % of the best partners since the last snapshot", 100.0 * churn)?;
        }
        if let Some(own) = row.n_own_partner {
            writeln!(
                out,
                "  one decoder   both sides are one SAE: scores of its decoder rows say nothing; {} of {} latents have\n                \
                 themselves as best partner",
                count(own, row.n_own_partner_null),
                thousands(c.n_alive_source)
            )?;
        }
        for s in &self.scores {
            let null = match (s.null_mean, shown_sd(s.null_sd, s.null_runs), s.p_value) {
                (Some(mean), _, _) if s.one_decoder => format!("null {mean:.3}"),
                (Some(mean), sd, Some(p)) => {
                    let sd = sd.map_or(String::new(), |sd| format!(" ± {sd:.3}"));
                    // a p-value that no further draw could have made smaller
                    let runs = f64::from(s.null_runs);
                    let least = if p * (runs + 1.0) <= 1.0 + 1e-9 { " (the least)" } else { "" };
                    format!("null {mean:.3}{sd}, p = {}{least}", shown_p(p))
                }
                _ => "no null".into(),
            };
            let name = format!("{} ({})", s.measure, s.pairing.as_str());
            let power = match (s.one_decoder, s.no_power) {
                (true, _) => "; one decoder",
                (_, true) => "; too few pairs to tell",
                _ => "",
            };
            let value = s.value.map_or("undefined".into(), |v| format!("{v:.3}"));
            writeln!(out, "  {name:<28} {value:>9}   {null}, n = {}{power}", thousands(s.n_pairs))?;
        }
        if self.best.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "  {:>15}   {:<21}   {:<16}   {:<15}   top tokens",
            "mutual matches", "r (95 % chance point)", "r given (chance)", "tokens fired on"
        )?;
        for b in &self.best {
            let ids = format!("{} ~ {}", b.source, b.target);
            let point = b.point.map_or("(?)".into(), |p| format!("({p:.3})"));
            let fired = b.n_active.map(thousands).join(" ~ ");
            let tokens = [shown_tokens(&b.source_top), shown_tokens(&b.target_top)].join("  ~  ");
            let within = b.within.map_or("-".into(), |within| {
                let [r, null] = within.map(|r| r.map_or("?".into(), |r| format!("{r:.3}")));
                format!("{r} ({null})")
            });
            writeln!(out, "  {ids:>15}   {:.4} {point:<14}   {within:<16}   {fired:<15}   {tokens}", b.correlation)?;
        }
        Ok(())
    }

    /// What "above chance" does not show; `control`: something is random here.
    pub(super) fn write_caveat(&self, control: bool, out: &mut String) -> std::fmt::Result {
        if self.best.is_empty() || self.row.counts.n_mutual_above_chance.is_none() {
            return Ok(());
        }
        let rest = if control {
            "This run is\n  a control: what was drawn at random did not make them do so."
        } else {
            "A control with\n  random_weights shows whether training made them do so."
        };
        writeln!(out, "  Above chance means that two latents fire together on this text. {rest}")
    }

    pub(super) fn as_json(&self) -> Value {
        let (row, c) = (&self.row, &self.row.counts);
        json!({
            "source": row.pair.source.to_string(),
            "target": row.pair.target.to_string(),
            "too_few": row.too_few,
            "no_chance": row.no_chance,
            "own_document_share": row.own_document_share,
            "one_decoder": row.one_decoder,
            "n_own_partner": row.n_own_partner,
            "n_own_partner_null": row.n_own_partner_null,
            "n_alive": [c.n_alive_source, c.n_alive_target],
            "n_latents": [row.n_latents_source, row.n_latents_target],
            "n_kept": [c.n_kept, c.n_kept_backward],
            "n_kept_null": [c.n_kept_null, c.n_kept_backward_null],
            "n_mutual": c.n_mutual,
            "n_mutual_null": c.n_mutual_null,
            "n_mutual_above_chance": c.n_mutual_above_chance,
            "n_mutual_above_chance_null": c.n_mutual_above_chance_null,
            "given": self.given,
            "min_within_unknown": self.min_within.unknown,
            "n_mutual_given": c.n_mutual_given,
            "n_mutual_within": c.n_mutual_within,
            "n_mutual_within_null": c.n_mutual_within_null,
            "n_distinct_partners": [c.n_distinct_partners_forward, c.n_distinct_partners_backward],
            "n_distinct_partners_null": [c.n_distinct_partners_forward_null, c.n_distinct_partners_backward_null],
            "mean_best_correlation": [c.mean_best_correlation_forward, c.mean_best_correlation_backward],
            "null_mean_best_correlation": [c.null_mean_best_correlation_forward, c.null_mean_best_correlation_backward],
            "churn": self.churn,
            "scores": self.scores.iter().map(|s| json!({
                "measure": s.measure, "pairing": s.pairing.as_str(), "value": s.value, "n_pairs": s.n_pairs,
                "null_mean": s.null_mean, "null_sd": s.null_sd, "null_runs": s.null_runs, "p_value": s.p_value,
                "no_power": s.no_power, "one_decoder": s.one_decoder,
            })).collect::<Vec<_>>(),
            "best": self.best.iter().map(|b| json!({
                "source_latent": b.source, "target_latent": b.target, "correlation": b.correlation,
                "chance_point": b.point, "within_correlation": b.within.and_then(|w| w[0]),
                "null_within_correlation": b.within.and_then(|w| w[1]),
                "source_top": b.source_top.iter().map(|t| &t.token).collect::<Vec<_>>(),
                "target_top": b.target_top.iter().map(|t| &t.token).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        })
    }
}

/// The brackets after a figure.
fn chance(null: Option<String>) -> String {
    null.map_or("chance unknown".into(), |null| format!("chance {null}"))
}

/// The first few strings that differ.
fn shown_tokens(top: &[TopTokenCell]) -> String {
    let mut seen: Vec<String> = Vec::new();
    for token in top.iter().map(|t| shown_token(&t.token)) {
        if !seen.contains(&token) && seen.len() < TOKENS_SHOWN {
            seen.push(token);
        }
    }
    seen.join(" ")
}

fn shown_p(p: f64) -> String {
    if p < 0.001 { format!("{p:.1e}") } else { format!("{p:.3}") }
}
