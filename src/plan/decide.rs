//! Which way is taken where the request leaves it open, and which other way would fit? Pure questions on what is asked for, answered by
//! what each way would hold.

use crate::plan::choice::Choice;
use crate::plan::cost::{costs, memory_of};
use crate::plan::steps::Steps;
use crate::spec::Cross;
use crate::units::human_bytes;

/// The narrowest sketch that is suggested.
const NARROWEST: usize = 64;

/// Σxy as the file says; with `cross = "auto"` as `known` from an earlier start of the run, else exact where that fits into `limit`
/// bytes, else a sketch. Latents are screened where what that takes fits as well; from saved sums nothing is.
pub(super) fn decide(steps: &Steps, limit: u64, known: Option<Cross>) -> Choice {
    let width = steps.spec.compare.width;
    let fits = |choice: &Choice| memory_of(&costs(steps, choice)) <= limit;
    let exact = Choice { cross: Cross::Exact, width, screens: false };
    let cross = match steps.spec.compare.cross {
        Cross::Auto => known
            .filter(|&known| known != Cross::Auto)
            .unwrap_or_else(|| if fits(&exact) { Cross::Exact } else { Cross::Sketch }),
        asked => asked,
    };
    let plain = Choice { cross, ..exact };
    let screened = Choice { screens: true, ..plain };
    if steps.streams && fits(&screened) { screened } else { plain }
}

/// A way of keeping Σxy that fits into `limit` bytes, in words, where this one does not.
pub(super) fn suggestion(steps: &Steps, choice: &Choice, limit: u64) -> Option<String> {
    let sketched = !steps.pairs.iter().all(|pair| steps.is_raw(*pair));
    // what is saved is kept as it is
    if !sketched || !steps.streams {
        return None;
    }
    let widest = if choice.is_sketched() { choice.width / 2 } else { choice.width };
    let widths = std::iter::successors(Some(widest), |width| Some(width / 2)).take_while(|&width| width >= NARROWEST);
    let needs = |width: usize| memory_of(&costs(steps, &Choice { cross: Cross::Sketch, width, ..*choice }));
    let (width, needed) = widths.map(|width| (width, needs(width))).find(|&(_, needed)| needed <= limit)?;
    Some(format!("compare.cross = \"sketch\" with width = {width} needs {}", human_bytes(needed)))
}
