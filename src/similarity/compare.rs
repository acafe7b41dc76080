//! How similar are two sets of matched rows, and how similar would they be by chance?
//!
//! Each measure is prepared once (principal components, ranks, neighbours); the observed pairing and every random one are
//! then evaluated by the same code, the random ones spread over threads. The result does not depend on their number.

use rayon::prelude::*;

use super::debiased::CkaDebiased;
use super::measure::Measure;
use super::neighbours::Neighbours;
use super::null::Permutations;
use super::procrustes::{Cka, Procrustes, ProcrustesRmse};
use super::pwcca::Pwcca;
use super::rsa::{RSA_MAX_ROWS, Rsa};
use super::score::{NullScores, Score};
use super::space::SideSpace;
use super::statistic::{Draw, Statistic, finite};
use super::svcca::{canonical_correlations, mean, no_power};
use crate::error::{Error, Result};
use crate::halt::Halt;
use crate::linalg::{Matrix, Stream, require_finite};

struct Svcca(usize, usize);

impl Statistic for Svcca {
    fn value(&self, draw: &Draw) -> Result<f64> {
        Ok(mean(&canonical_correlations(draw.cross(), self.0, self.1)?))
    }
}

/// A measure prepared, with what is known of it before any pairing.
struct Prepared<'a> {
    statistic: Box<dyn Statistic + 'a>,
    /// Corner of the cross product that it reads.
    corner: (usize, usize),
    components: Option<(usize, usize)>,
    no_power: bool,
}

/// Scores of `p: [N, d_A]` and `q: [N, d_B]` (f64; for example decoder rows of matched latents), where row `i` of one belongs to
/// row `i` of the other, by each measure, each with its null over `nulls`.
///
/// Cost of one random pairing: `N k_A k_B` multiply-adds, shared by all measures but RSA and neighbours (one component a
/// side makes this N), plus singular values of `[k_A, k_B]` for SVCCA, Procrustes and PWCCA, each; `N²` steps for RSA.
///
/// # Errors
/// `Request` when the numbers of rows differ or a given permutation does not name every row once, `Input` for values
/// that are not finite, `Machine` without memory for a decomposition.
pub fn compare_rows(
    p: &Matrix<f64>,
    q: &Matrix<f64>,
    measures: &[Measure],
    nulls: Permutations<'_>,
) -> Result<Vec<Score>> {
    compare_rows_until(&Halt::NEVER, p, q, measures, nulls)
}

/// The same, which `halt` may stop between two pairings.
///
/// # Errors
/// Those of [`compare_rows`]; `Interrupted` when it is stopped.
pub fn compare_rows_until(
    halt: &Halt,
    p: &Matrix<f64>,
    q: &Matrix<f64>,
    measures: &[Measure],
    nulls: Permutations<'_>,
) -> Result<Vec<Score>> {
    let n = p.n_rows();
    if n != q.n_rows() {
        let m = q.n_rows();
        return Err(Error::request(format!(
            "comparison of rows: {n} rows with {m}, expected one partner for every row"
        )));
    }
    require_finite(p, "comparison of rows: first side")?;
    require_finite(q, "comparison of rows: second side")?;
    check_given(&nulls, n)?;
    let sampled = |m: &Measure| n > RSA_MAX_ROWS && matches!(m, Measure::Rsa(_));
    let (few, all): (Vec<_>, Vec<_>) = measures.iter().copied().enumerate().partition(|(_, m)| sampled(m));
    let mut scores = score_all(halt, p, q, all, nulls)?;
    if !few.is_empty() {
        let rows = rsa_sample(&nulls, n);
        let nulls = match nulls {
            Permutations::Given(_) => Permutations::NONE, // orders of all rows say nothing of a sample
            seeded => seeded,
        };
        scores.extend(score_all(halt, &p.gather_rows(&rows), &q.gather_rows(&rows), few, nulls)?);
    }
    scores.sort_by_key(|(place, _)| *place);
    Ok(scores.into_iter().map(|(_, score)| score).collect())
}

/// Rows, ascending, that RSA compares when there are too many.
fn rsa_sample(nulls: &Permutations<'_>, n: usize) -> Vec<usize> {
    let seed = if let Permutations::Seeded { seed, .. } = nulls { *seed } else { 0 };
    let mut rows = Stream::new(seed, "rsa rows", 0).permutation(n);
    rows.truncate(RSA_MAX_ROWS);
    rows.sort_unstable();
    rows.into_iter().map(|row| row as usize).collect()
}

fn check_given(nulls: &Permutations<'_>, n: usize) -> Result<()> {
    let Permutations::Given(orders) = nulls else { return Ok(()) };
    for (r, order) in orders.iter().enumerate() {
        let mut seen = vec![false; n];
        let once = |&o: &u32| seen.get_mut(o as usize).is_some_and(|seen| !std::mem::replace(seen, true));
        if order.len() != n || !order.iter().all(once) {
            return Err(Error::request(format!(
                "null pairing {r} does not name each of {n} rows once; give permutations"
            )));
        }
    }
    Ok(())
}

/// Scores with the places of their measures.
fn score_all(
    halt: &Halt,
    p: &Matrix<f64>,
    q: &Matrix<f64>,
    measures: Vec<(usize, Measure)>,
    nulls: Permutations<'_>,
) -> Result<Vec<(usize, Score)>> {
    let n = p.n_rows();
    halt.check()?;
    let spectral = |m: &Measure| !matches!(m, Measure::Rsa(_) | Measure::JaccardKnn(_) | Measure::MutualKnn(_));
    let spaces = if measures.iter().any(|(_, m)| spectral(m)) {
        let (a, b) = rayon::join(|| SideSpace::of(p), || SideSpace::of(q));
        a?.zip(b?)
    } else {
        None
    };
    let prepared: Vec<Option<Prepared<'_>>> =
        measures.iter().map(|&(_, measure)| prepare(p, q, measure, spaces.as_ref())).collect();
    let corner = prepared.iter().flatten().fold((0, 0), |(a, b), x| (a.max(x.corner.0), b.max(x.corner.1)));
    let evaluate = |order: &[u32]| -> Result<Vec<Option<f64>>> {
        halt.check()?;
        let draw = match &spaces {
            Some((a, b)) if corner.0 > 0 => Draw::new(order, a, b, corner),
            _ => Draw::of_order(order),
        };
        let value = |x: &Prepared| x.statistic.value(&draw).and_then(finite);
        prepared.iter().map(|x| x.as_ref().map(value).transpose()).collect()
    };
    let observed = evaluate(&(0..n as u32).collect::<Vec<_>>())?;
    let runs = if observed.iter().any(Option::is_some) { nulls.runs() } else { 0 };
    let draws: Vec<Vec<Option<f64>>> =
        (0..runs).into_par_iter().map(|r| evaluate(&nulls.order(r, n))).collect::<Result<_>>()?;
    let score = |(at, &(place, measure)): (usize, &(usize, Measure))| {
        let value = observed[at];
        let draws: Vec<f64> = draws.iter().filter_map(|draw| draw[at]).collect();
        let null = value.and_then(|value| NullScores::of(value, &draws, measure.smaller_is_closer()));
        let (components, no_power) = prepared[at].as_ref().map_or((None, false), |x| (x.components, x.no_power));
        (place, Score { value, null, no_power, components, draws, ..Score::undefined(measure, n) })
    };
    Ok(measures.iter().enumerate().map(score).collect())
}

/// The measure with everything that does not depend on the pairing; `None` where it is undefined.
fn prepare<'a>(
    p: &Matrix<f64>,
    q: &Matrix<f64>,
    measure: Measure,
    spaces: Option<&'a (SideSpace, SideSpace)>,
) -> Option<Prepared<'a>> {
    let n = p.n_rows();
    let plain = |statistic: Box<dyn Statistic + 'a>, no_power| Prepared {
        statistic,
        corner: (0, 0),
        components: None,
        no_power,
    };
    let whole = |(a, b): &(SideSpace, SideSpace)| (a.svd.s.len(), b.svd.s.len());
    Some(match measure {
        Measure::Rsa(rule) => plain(Box::new(Rsa::new(p, q, rule)?), false),
        Measure::JaccardKnn(k) | Measure::MutualKnn(k) => {
            let neighbours = Neighbours::new(p, q, k, matches!(measure, Measure::JaccardKnn(_)))?;
            let no_power = neighbours.no_power();
            plain(Box::new(neighbours), no_power)
        }
        Measure::Svcca(rule) => {
            let (a, b) = spaces?;
            let k = (rule.components(&a.variances()), rule.components(&b.variances()));
            let statistic = Box::new(Svcca(k.0, k.1));
            Prepared { statistic, corner: k, components: Some(k), no_power: no_power(n, k.0, k.1) }
        }
        Measure::Pwcca(rule) => {
            let (a, b) = spaces?;
            let k = (a.rank, b.rank);
            let statistic = Box::new(Pwcca::new(a, b, rule, n));
            Prepared { statistic, corner: k, components: Some(k), no_power: no_power(n, k.0, k.1) }
        }
        Measure::Cka => {
            let spaces = spaces?;
            Prepared { corner: whole(spaces), ..plain(Box::new(Cka(&spaces.0, &spaces.1)), false) }
        }
        Measure::CkaDebiased => {
            let spaces = spaces?;
            let statistic = Box::new(CkaDebiased::new(&spaces.0, &spaces.1, n)?);
            Prepared { corner: whole(spaces), ..plain(statistic, false) }
        }
        Measure::Procrustes => {
            let spaces = spaces?;
            Prepared { corner: whole(spaces), ..plain(Box::new(Procrustes(&spaces.0, &spaces.1)), false) }
        }
        Measure::ProcrustesRmse => {
            let spaces = spaces?;
            let statistic = Box::new(ProcrustesRmse::new(&spaces.0, &spaces.1, n));
            Prepared { corner: whole(spaces), ..plain(statistic, false) }
        }
    })
}
