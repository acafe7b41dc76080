//! Does everything that a dataflow file declares come into some pair? What does not would cost memory or hide a slip, so it is
//! refused before anything runs.

use crate::error::{Error, Result};
use crate::ids::SiteName;
use crate::similarity::MapFit;
use crate::spec::{CheckSpec, Cross, DataflowSpec, DoctorRule, EstimateSpec, NullSpec, PairsSpec};
use std::collections::BTreeSet;

/// Refuses SAEs and hookpoints that no pair reads, and keys that no pair listens to. Places are as the models resolve them, pairs
/// those of [`DataflowSpec::pairs`].
///
/// # Errors
/// `Request` naming the thing and what would make it count.
pub(super) fn check_used(spec: &DataflowSpec, pairs: &[(SiteName, SiteName)]) -> Result<()> {
    let sites: BTreeSet<&SiteName> = pairs.iter().flat_map(|(a, b)| [a, b]).collect();
    if let Some(site) = spec.saes.keys().find(|site| !sites.contains(site)) {
        return Err(Error::request(idle_sae(spec, site, &sites)));
    }
    if let Some(site) = spec.compare.hookpoints.iter().find(|site| !sites.contains(site)) {
        return Err(Error::request(format!(
            "compare.hookpoints names {site}, which comes into no pair: places of one model are paired with each other where all \
             are of that model, else with those of other models; name another place, or take it out"
        )));
    }
    if let Some(site) = sites.iter().find(|site| !site.tag.is_none() && !spec.saes.contains_key(**site)) {
        return Err(Error::request(format!(
            "{site} names an SAE, and there is no [saes.\"{site}\"]; write it, or leave out what follows # for the hookpoint as it is"
        )));
    }
    let has_sae = |site: &SiteName| spec.saes.contains_key(site);
    let (estimate, null, check) = (&spec.estimate, &spec.estimate.null, &spec.check);
    let usual = EstimateSpec::of_rules(estimate.rules);
    let has_rows = |site: &SiteName| spec.saes.get(site).is_some_and(|sae| sae.taken().is_none());
    let no_rows = !pairs.iter().any(|(a, b)| has_rows(a) && has_rows(b));
    let one_hookpoint = pairs.iter().all(|(a, b)| (&a.model, &a.hookpoint) == (&b.model, &b.hookpoint));
    let no_sae = !sites.iter().any(|site| has_sae(site));
    const NO_ROWS: &str = "scores of decoder rows are of pairs of two SAEs, and there is none; take it out (activation_measures \
                           scores hookpoints as they are)";
    let idle = [
        ("estimate.measures", no_rows && estimate.measures != usual.measures, NO_ROWS),
        ("estimate.pairings", no_rows && estimate.pairings != usual.pairings, NO_ROWS),
        ("estimate.null.permutations", no_rows && null.permutations != NullSpec::default().permutations, NO_ROWS),
        (
            "compare.cross",
            no_sae && spec.compare.cross != Cross::Exact,
            "sketches are of SAEs, and no pair has one; take it out",
        ),
        (
            "compare.readout",
            no_sae && spec.compare.readout,
            "latents of SAEs are read out, and no pair has one; take it out",
        ),
        (
            "compare.readout",
            spec.compare.readout && one_hookpoint,
            "both places of every pair are one hookpoint, and latents are made of its activations; take it out",
        ),
        (
            "compare.stitch",
            spec.compare.stitch && one_hookpoint,
            "both places of every pair are one hookpoint, whose activations need no map; take it out",
        ),
        (
            "estimate.map",
            !spec.compare.stitch && estimate.map != MapFit::default(),
            "no maps are fitted without compare.stitch = true; add it, or take this out",
        ),
        (
            "[check]",
            !sites.iter().any(|site| has_rows(site))
                && check.doctor != DoctorRule::Off
                && *check != CheckSpec::default(),
            "it is about SAEs, and no pair has one; take it out",
        ),
    ];
    match idle.into_iter().find(|(_, is_idle, _)| *is_idle) {
        Some((key, _, why)) => Err(Error::request(format!("{key} changes nothing here: {why}"))),
        None => Ok(()),
    }
}

/// The message about an SAE in no pair; a place of its model that is in one without an SAE was perhaps meant.
fn idle_sae(spec: &DataflowSpec, site: &SiteName, sites: &BTreeSet<&SiteName>) -> String {
    let bare: Vec<String> = (sites.iter())
        .filter(|s| s.model == site.model && !spec.saes.contains_key(**s))
        .map(|s| s.to_string())
        .collect();
    let what_to_do = match (&spec.compare.pairs, bare.as_slice()) {
        (PairsSpec::Listed(_), []) => format!("name {site} in compare.pairs, or take the SAE out"),
        (PairsSpec::Listed(_), bare) => format!(
            "compare.pairs names {}, which has no SAE and would be compared by its dimensions as they are; name {site} there, put \
             the SAE at the hookpoint that is compared, or take it out",
            bare.join(" and ")
        ),
        (PairsSpec::All(_), _) => format!(
            "pairs = \"all\" pairs SAEs with each other, and there is no other SAE; add one, list pairs with {site}, or take it out"
        ),
    };
    format!("[saes.\"{site}\"] is in no pair: {what_to_do}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const FILE: &str = "format = 1\nname = \"t\"\n[corpus]\nfiles = [\"x.jsonl\"]\ncontext_length = 8\n[models]\na.path = \"a\"\n\
                        b.path = \"b\"\n";

    /// The message about a file with these SAEs and these lines behind them.
    fn said(saes: &[&str], lines: &str) -> Option<String> {
        let saes: String = saes.iter().map(|s| format!("[saes.\"{s}\"]\npath = \"s\"\n")).collect();
        let text = format!("{FILE}{saes}{lines}");
        let spec = DataflowSpec::parse(&text, Path::new("t.toml")).unwrap_or_else(|e| panic!("{lines}: {e}"));
        check_used(&spec, &spec.pairs()).err().map(|e| e.to_string())
    }

    #[test]
    fn a_slip_in_a_hookpoint_is_not_taken_for_a_place_without_an_sae() {
        let slip = said(
            &["a/resid_pre.1", "b/resid_post.1"],
            "[compare]\npairs = [[\"a/resid_post.1\", \"b/resid_post.1\"]]\n",
        );
        let slip = slip.expect("the SAE of a stands in no pair");
        for word in ["[saes.\"a/resid_pre.1\"] is in no pair", "compare.pairs names a/resid_post.1", "has no SAE"] {
            assert!(slip.contains(word), "{word}: {slip}");
        }
        // a place without an SAE is fine where every SAE has its pair
        let meant = "[compare]\npairs = [[\"a/resid_post.1\", \"b/resid_post.1\"]]\n";
        assert_eq!(said(&["b/resid_post.1"], meant), None);
    }

    #[test]
    fn what_no_pair_reads_is_named() {
        let listed = "[compare]\npairs = [[\"a/embed\", \"b/embed\"]]\n";
        assert!(said(&["a/resid_post.1"], listed).unwrap().contains("[saes.\"a/resid_post.1\"] is in no pair"));
        let all = "[compare]\npairs = \"all\"\nhookpoints = [\"a/embed\", \"b/embed\"]\n";
        assert!(said(&["a/resid_post.1"], all).unwrap().contains("there is no other SAE"));
        // of one model alone, with each other
        assert_eq!(said(&["a/resid_post.1", "a/resid_post.2"], all), None);
        let saes = ["a/resid_post.1", "b/resid_post.1"];
        let alone = "[compare]\npairs = \"all\"\nhookpoints = [\"a/embed\"]\n";
        assert!(said(&saes, alone).unwrap().contains("compare.hookpoints names a/embed, which comes into no pair"));
        assert_eq!(said(&saes, all), None);
    }

    #[test]
    fn keys_that_no_pair_listens_to_are_named() {
        let raw = "[compare]\npairs = [[\"a/embed\", \"b/embed\"]]\n";
        for (lines, key) in [
            ("[estimate]\nmeasures = [\"cka\"]\n", "estimate.measures"),
            ("[estimate]\nrules = \"as_published\"\npairings = [\"forward\"]\n", "estimate.pairings"),
            ("[estimate]\nrules = \"as_published\"\nnull = { permutations = 99 }\n", "estimate.null.permutations"),
            ("cross = \"sketch\"\n", "compare.cross"),
            ("readout = true\n", "compare.readout"),
            ("[estimate]\nmap = { units = \"std\" }\n", "estimate.map"),
            ("[check]\ntokens = 9\n", "[check]"),
        ] {
            let said = said(&[], &format!("{raw}{lines}")).unwrap_or_else(|| panic!("{lines} is let through"));
            assert!(said.starts_with(&format!("{key} changes nothing here")), "{said}");
        }
        for key in ["readout", "stitch"] {
            let lines = format!("[compare]\npairs = \"all\"\n{key} = true\n");
            let of_one = said(&["a/embed#x", "a/embed#y"], &lines).unwrap();
            assert!(of_one.contains(&format!("compare.{key} changes nothing here: both places")), "{of_one}");
            assert_eq!(said(&["a/embed#x", "a/embed#y", "a/resid_post.1"], &lines), None);
        }
        // the rules' own measures are not set by the file
        for fine in [
            "stitch = true\n[estimate]\nmap = { units = \"std\" }\n",
            "[estimate]\nrules = \"as_published\"\n",
            "[check]\ndoctor = \"off\"\n",
            "",
        ] {
            assert_eq!(said(&[], &format!("{raw}{fine}")), None, "{fine}");
        }
    }
}
