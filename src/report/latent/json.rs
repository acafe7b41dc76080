//! A latent's card for programs.

use super::card::{LatentCard, Partner};
use super::group::GroupCard;
use crate::report::Marker;
use crate::table::{CosineScores, TopTokenCell, Verdict};
use serde_json::{Value, json};

impl LatentCard {
    /// For programs; `strong` is the byte range of the token in its context.
    pub fn as_json(&self, marker: &Marker) -> Value {
        let r = &self.row;
        let marker = marker.of(&r.site.model);
        let cosines =
            |c: CosineScores| c.null_mean.map(|mean| json!({ "null_mean": mean, "null_point": c.null_point }));
        let chance_of = |p: &Partner| {
            let pair = self.agreement.as_ref().and_then(|all| all.of(&p.row.pair));
            pair.map(|p| json!({ "mapped_decoder_cosine": cosines(p.mapped), "logit_cosine": cosines(p.logits) }))
        };
        let top = |t: &TopTokenCell| {
            json!({ "token": t.token, "value": t.value, "context": t.context, "document": t.document,
                    "strong": marker.place(t).map(|p| [p.start, p.end]) })
        };
        json!({
            "site": r.site.to_string(), "latent": r.latent, "alive": r.alive, "n_active": r.n_active,
            "documents": r.documents, "given_rows": r.given_rows, "token_share": r.token_share,
            "frequency": r.frequency, "mean": r.mean, "std": r.std, "max": r.max,
            "labels": self.shares().into_iter().map(|(f, s)| (f, json!(s))).collect::<serde_json::Map<_, _>>(),
            "top": r.top.iter().map(top).collect::<Vec<_>>(),
            "partners": self.partners.iter().map(|p| json!({
                "site": p.site.to_string(), "latent": p.latent, "picks": p.picks,
                "direction": p.row.direction.as_str(), "correlation": p.row.correlation, "null_correlation": p.row.significance.null_correlation,
                "chance_point": p.row.significance.point, "p_value": p.row.significance.p_value, "q_value": p.row.significance.q_value, "margin": p.row.significance.margin,
                "rank": p.row.rank, "sampling_error": p.row.listed.sampling_error, "n_both": p.row.listed.n_both,
                "token_correlation": p.row.listed.token_correlation, "within_correlation": p.row.listed.within_correlation,
                "null_within_correlation": p.row.listed.null_within_correlation,
                "target_given_source": p.row.listed.target_given_source, "source_given_target": p.row.listed.source_given_target,
                "jaccard": p.row.listed.jaccard,
                "mapped_decoder_cosine": p.row.cosines.mapped, "logit_cosine": p.row.cosines.logits,
                "chance": chance_of(p),
                "mutual": p.row.mutual, "kept": p.row.kept, "dropped_by": p.row.dropped_by,
                "top": p.top.iter().map(|t| &t.token).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "readout": self.readout.iter().map(|(site, row)| json!({
                "site": site.to_string(), "readout_r2": row.found.r_squared, "null_r2": row.found.null,
                "chance_point": row.found.chance_point, "p_value": row.found.p_value, "q_value": row.found.q_value,
                "verdict": row.verdict.map(Verdict::as_str),
            })).collect::<Vec<_>>(),
            "group": self.group.as_ref().map(GroupCard::as_json),
        })
    }
}
