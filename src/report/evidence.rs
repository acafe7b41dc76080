//! How strong is the evidence of a figure? The rules by which the summary and the page word it, each in one place with its words.

/// Null runs from which their standard deviation is shown: of 20 it is known to a sixth of itself (1/√(2·19)), of 9 to a quarter,
/// and a distance in such units means no more than "above every run".
pub const LEAST_RUNS_FOR_SD: u32 = 20;

/// The standard deviation of a null, where it has enough runs.
pub fn shown_sd(sd: Option<f64>, runs: u32) -> Option<f64> {
    sd.filter(|_| runs >= LEAST_RUNS_FOR_SD)
}

/// What a small q-value of a match does not show.
pub const CAVEAT: &str = "A small q says that two latents go together, not that training made them so: one token that fires both is \
                          enough, and with many tokens nearly every match has a small q. The size of r above chance is what to look at.";

/// What is known of a pair's best matches, of forward and backward.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Closeness {
    /// Mean correlation of latents with their best partner.
    pub mean: [Option<f64>; 2],
    /// The same by chance; `None` where no null was counted.
    pub chance: [Option<f64>; 2],
    /// Why the pair is not to be ranked: too little text, or both sides are one decoder.
    pub left_out: bool,
}

/// The pair whose hookpoints are closest, and the rule in words. **Closest** is the pair with the highest mean best r above its
/// chance level, mean of both directions; where the chance level of any pair is unknown, the highest mean best r. Pairs that show
/// nothing are left out unless all are; ties go to the first. `None` where no pair has a match.
pub fn closest(pairs: &[Closeness]) -> Option<(usize, &'static str)> {
    let all_out = pairs.iter().all(|p| p.left_out);
    let in_it = || pairs.iter().enumerate().filter(move |(_, p)| all_out || !p.left_out);
    let known = in_it().all(|(_, p)| (0..2).all(|d| p.mean[d].is_none() || p.chance[d].is_some()));
    let effect = |p: &Closeness| -> Option<f64> {
        let of = |k: usize| Some(p.mean[k]? - if known { p.chance[k]? } else { 0.0 });
        let both: Vec<f64> = [0, 1].into_iter().filter_map(of).collect();
        (!both.is_empty()).then(|| both.iter().sum::<f64>() / both.len() as f64)
    };
    let ranked = in_it().filter_map(|(k, p)| Some((k, effect(p)?)));
    let best = ranked.reduce(|a, b| if b.1 > a.1 { b } else { a })?;
    let rule =
        if known { "highest mean best r above chance, both directions" } else { "highest mean best r; chance unknown" };
    Some((best.0, rule))
}

/// Share of repeated contexts from which the caution is printed.
pub const REPEATED_LEVEL: f64 = 0.01;

/// The caution about contexts that were seen before; `None` where they are few, or may be by the error of the count.
pub fn repeated_words(share: f64, error: f64) -> Option<String> {
    if share - 2.0 * error < REPEATED_LEVEL {
        return None;
    }
    let within = if error > 0.0 { format!(" (± {:.1})", 100.0 * error) } else { String::new() };
    Some(format!(
        "{:.1} %{within} of the contexts were seen before (the same first 32 tokens): a text beside its own copy looks like agreement, and \
         no null that pairs documents with each other takes that away. Take duplicates out of the corpus.",
        100.0 * share
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(mean: f64, chance: Option<f64>) -> Closeness {
        Closeness { mean: [Some(mean), Some(mean)], chance: [chance, chance], left_out: false }
    }

    #[test]
    fn closest_is_farthest_above_its_own_chance() {
        let high = pair(0.7, Some(0.65));
        let low = pair(0.5, Some(0.02));
        assert_eq!(closest(&[high, low]).unwrap().0, 1);
        assert_eq!(closest(&[low, high, low]).unwrap().0, 0, "ties go to the first");
        // one direction alone does not decide
        let lopsided = Closeness { mean: [Some(0.9), Some(0.1)], chance: [Some(0.0), Some(0.0)], left_out: false };
        assert_eq!(closest(&[lopsided, pair(0.6, Some(0.0))]).unwrap().0, 1);
        // chance unknown of one is chance unknown
        let (k, rule) = closest(&[high, pair(0.5, None)]).unwrap();
        assert!(k == 0 && rule.contains("chance unknown"));
        // scores marked `left_out` are left out, unless all are
        let out = Closeness { left_out: true, ..pair(1.0, Some(0.0)) };
        assert_eq!(closest(&[out, low]).unwrap().0, 1);
        assert_eq!(closest(&[out]).unwrap().0, 0);
        assert_eq!(closest(&[Closeness::default()]), None);
        assert_eq!(closest(&[]), None);
    }

    #[test]
    fn a_spread_needs_runs_and_copies_need_to_be_more_than_the_error() {
        assert_eq!((shown_sd(Some(0.1), 19), shown_sd(Some(0.1), 20)), (None, Some(0.1)));
        assert_eq!(repeated_words(0.004, 0.0), None);
        assert_eq!(repeated_words(0.015, 0.004), None, "within twice the error of the level");
        assert!(repeated_words(0.12, 0.0).unwrap().starts_with("12.0 % of the contexts were seen before"));
        assert!(repeated_words(0.12, 0.004).unwrap().starts_with("12.0 % (± 0.4) of the contexts"));
    }
}
