//! A latent's card for people.

use super::card::{LatentCard, Partner};
use super::lines::{few_tokens, marked, plain, write_wrapped};
use crate::matching::Direction;
use crate::report::Marker;
use crate::table::{CosineScores, Verdict};
use crate::units::thousands;
use std::fmt::Write;

/// Contexts shown.
const CONTEXTS_SHOWN: usize = 10;

impl LatentCard {
    /// For people, in lines of at most `width` characters.
    pub fn as_text(&self, marker: &Marker, width: usize) -> String {
        let mut out = String::new();
        self.write(marker, width.max(40), &mut out).expect("a string takes all");
        out
    }

    fn write(&self, marker: &Marker, width: usize, out: &mut String) -> std::fmt::Result {
        let marker = marker.of(&self.row.site.model);
        let r = &self.row;
        writeln!(out, "{}/{}", r.site, r.latent)?;
        if !r.alive {
            writeln!(out, "dead: it fired on no token, so it has no top-activating tokens and no partners")?;
            return Ok(());
        }
        let documents = format!("in {} document{}", thousands(r.documents), if r.documents == 1 { "" } else { "s" });
        let fired = format!("{} tokens ({:.4} %)", thousands(r.n_active), 100.0 * r.frequency);
        write_wrapped(out, "fired on   ", &[fired, documents], width)?;
        if let Some(share) = r.token_share {
            let mut said = vec![format!("explains {:.1} % of its variance", 100.0 * share.max(0.0))];
            said.extend(r.given_rows.map(|n| format!("on {} rows", thousands(n))));
            write_wrapped(out, &format!("{:<10} ", self.given), &said, width)?;
        }
        let max = r.max.map_or("-".into(), |m| format!("{m:.4}"));
        let figures = [format!("max {max}"), format!("mean {:.4e}", r.mean), format!("std {:.4e}", r.std)];
        let over_all = "over all tokens".to_string();
        write_wrapped(out, "activation ", &[figures.as_slice(), &[over_all]].concat(), width)?;
        for (field, shares) in self.shares() {
            let shares: Vec<String> = shares.iter().map(|(v, s)| format!("{} {:.1} %", plain(v), 100.0 * s)).collect();
            write_wrapped(out, &format!("{:<10} ", plain(&field)), &shares, width)?;
        }
        writeln!(out, "\nstrongest tokens")?;
        for top in r.top.iter().take(CONTEXTS_SHOWN) {
            let room = width.saturating_sub(14);
            writeln!(out, "{:>10.3}   {}", top.value, marked(top, marker, room))?;
        }
        for (picks, title) in [(true, "picks"), (false, "is the best partner of")] {
            let rows: Vec<&Partner> = self.partners.iter().filter(|p| p.picks == picks).collect();
            if rows.is_empty() {
                continue;
            }
            writeln!(out, "\n{title}")?;
            for p in rows {
                let head = match p.latent {
                    Some(latent) => format!("  {}/{latent}  ", p.site),
                    None => format!("  {}: nothing  ", p.site),
                };
                let verdict = match &p.row.dropped_by {
                    _ if p.row.kept => Some("kept".to_string()),
                    Some(by) if by != "rank" => Some(format!("dropped by {by}")),
                    _ => None,
                };
                let mut items: Vec<String> = p.row.correlation.map(|r| format!("r {r:.4}")).into_iter().collect();
                // one chance level a best match; none where rows of another document were not counted
                let unknown = p.row.rank == 1 && p.row.correlation.is_some();
                let unknown = unknown.then(|| "chance unknown".to_string());
                items.extend(p.row.significance.null_correlation.map(|r| format!("by chance {r:.4}")).or(unknown));
                items.extend(p.row.significance.point.map(|r| format!("95 % point {r:.4}")));
                items.extend(self.point_of_best(p));
                items.extend(p.row.significance.q_value.map(|q| format!("q {q:.1e}")));
                items.extend(p.row.significance.margin.map(|m| format!("ahead by {m:.4}")));
                items.extend(p.row.listed.sampling_error.map(|e| format!("error {e:.4}")));
                items.extend(self.within(p));
                items.extend(p.relation());
                items.extend(self.directions(p));
                items.extend(picks.then(|| format!("rank {}", p.row.rank)));
                items.extend(p.row.mutual.then(|| "mutual".to_string()));
                items.extend(verdict);
                items.extend(few_tokens(p.top.iter().map(|t| &t.token)));
                write_wrapped(out, &head, &items, width)?;
            }
        }
        self.write_readout(width, out)?;
        self.group.as_ref().map_or(Ok(()), |group| group.write(&self.row, width, out))
    }

    /// r given the token and the rows that it rests on, or that these are too few; nothing where the two are not listed.
    fn within(&self, p: &Partner) -> Vec<String> {
        let listed = &p.row.listed;
        match (listed.within_correlation, listed.given_rows) {
            (Some(within), rows) => {
                let rows = rows.map_or(String::new(), |n| format!(" on {} rows", thousands(n)));
                let null = listed.null_within_correlation;
                let chance = null.map_or("chance unknown".into(), |v| format!("by chance {v:.4} (one draw)"));
                vec![format!("given the {} {within:.4}{rows}", self.given), chance]
            }
            (None, Some(rows)) => vec![format!("given the {}: too few rows ({})", self.given, thousands(rows))],
            // counted of listed partners alone
            (None, None) if self.row.given_rows.is_some_and(|n| n > 0) && p.row.correlation.is_some() => {
                vec![format!("given the {}: not counted", self.given)]
            }
            (None, None) => Vec::new(),
        }
    }

    /// The 95 % chance point of the latent's best r, for a partner of a lower rank: no rank reaches higher by chance than the best.
    fn point_of_best(&self, p: &Partner) -> Option<String> {
        if p.row.rank == 1 || !p.picks {
            return None;
        }
        let best = self.partners.iter().find(|best| best.picks && best.row.rank == 1 && best.site == p.site)?;
        best.row.significance.point.map(|r| format!("95 % point of the best {r:.4}"))
    }

    fn write_readout(&self, width: usize, out: &mut String) -> std::fmt::Result {
        if self.readout.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nread out of other activations")?;
        for (site, row) in &self.readout {
            let found = &row.found;
            let mut items: Vec<String> = found.r_squared.map(|r2| format!("R² {r2:.4}")).into_iter().collect();
            items.extend(found.null.map(|null| format!("by chance {null:.4}")));
            items.push(found.chance_point.map_or("chance unknown".into(), |p| format!("95 % point {p:.4}")));
            items.extend(found.q_value.map(|q| format!("q {q:.1e}")));
            items.extend(row.verdict.map_or(&["undecided"][..], Verdict::in_words).iter().map(|w| (*w).to_string()));
            write_wrapped(out, &format!("  {site}  "), &items, width)?;
        }
        Ok(())
    }

    /// How the two latents' decoder rows agree where they have no common space, of a best match; nothing where it was not asked for.
    fn directions(&self, p: &Partner) -> Vec<String> {
        if p.row.rank > 1 {
            return Vec::new();
        }
        let pair = self.agreement.as_ref().and_then(|all| all.of(&p.row.pair));
        // chance is counted of the matches that the source picks
        let of_forward = if p.row.direction == Direction::Backward { " (forward)" } else { "" };
        let mut items = Vec::new();
        let mut add = |what: &str, figure: Option<f64>, chance: Option<CosineScores>| {
            let Some(figure) = figure else { return };
            items.push(format!("{what} cosine {figure:.4}"));
            items.push(by_chance(chance.and_then(|c| c.null_mean)) + of_forward);
            items.extend(chance.and_then(|c| c.null_point).map(|point| format!("95 % point {point:.4}{of_forward}")));
        };
        add("mapped", p.row.cosines.mapped, pair.map(|p| p.mapped));
        add("logit", p.row.cosines.logits, pair.map(|p| p.logits));
        items
    }
}

fn by_chance(figure: Option<f64>) -> String {
    figure.map_or("chance unknown".into(), |v| format!("by chance {v:.4}"))
}
