//! How long will it take? One batch is put through forward, encode and fold, with nothing published.

use crate::corpus::TokenBatch;
use crate::engine::encode::{Loaded, encode_batch};
use crate::engine::fold::Fold;
use crate::engine::status::{RunStatus, Stage};
use crate::error::Result;
use crate::linalg::panels::{Finish, PackedRows, Panels, multiply};
use crate::matching::{PRODUCT_COLUMNS, PRODUCT_ROWS};
use crate::plan::Plan;
use rayon::prelude::*;
use std::sync::Arc;
use std::time::Instant;

/// Seconds by the clock that one batch took in each stage, on all threads of this process. Memory is touched for the first
/// time in a batch before, which is not counted.
///
/// # Errors
/// Those of the forward and the encode.
pub fn measure_batch(plan: &Arc<Plan>, loaded: &Loaded, tokens: &Arc<TokenBatch>) -> Result<Vec<(&'static str, f64)>> {
    let mut fold = Fold::new(plan.clone(), 0, 1);
    let mut status = RunStatus::default();
    for _ in 0..2 {
        status = RunStatus::default();
        let batch = encode_batch(plan, loaded, tokens, &status, true)?;
        status.timed(Stage::Fold, || fold.apply(&batch, false))?;
    }
    let stages = [Stage::Forward, Stage::Encode, Stage::Moments, Stage::Fold];
    Ok(stages.into_iter().map(|s| (s.name(), status.seconds(s))).collect())
}

/// Seconds that one choice of candidates of all pairs would take, from the speed of a few products of its shape; 0 where
/// nothing is sketched.
#[allow(clippy::disallowed_methods, reason = "what it gives back is a duration")]
pub fn measure_choice(plan: &Plan) -> f64 {
    let cells = |p: &crate::plan::Pair| plan.spaces()[p.source].width as f64 * plan.spaces()[p.target].width as f64;
    let all: f64 = plan.pairs().iter().filter(|p| plan.is_sketched() && !plan.is_raw(**p)).map(cells).sum();
    if all == 0.0 {
        return 0.0;
    }
    let (m, n, width) = (PRODUCT_ROWS, PRODUCT_COLUMNS, plan.spec().compare.width);
    let panels = Panels::from_transposed(&vec![0.5f32; n * width], n, width);
    let mut rows = PackedRows::default();
    rows.pack(&vec![0.5f32; m * width], m, width);
    let products = 2 * rayon::current_num_threads();
    let start = Instant::now();
    (0..products).into_par_iter().for_each(|_| {
        let mut r = vec![0f32; m * n];
        multiply(&rows, &panels, 0..panels.n_panels(), &mut r, Finish::default());
        std::hint::black_box(r);
    });
    start.elapsed().as_secs_f64() * all / (products * m * n) as f64
}
