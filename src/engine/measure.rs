//! How long will it take? One batch is put through forward, encode and fold, with nothing published, and made into the message that
//! other machines would be sent.

use crate::corpus::TokenBatch;
use crate::engine::encode::{Loaded, encode_batch};
use crate::engine::fold::Fold;
use crate::engine::message::EncodedBatch;
use crate::engine::status::{RunStatus, Stage};
use crate::error::{Error, Result};
use crate::linalg::panels::{Finish, PackedRows, Panels, multiply};
use crate::matching::{PRODUCT_COLUMNS, PRODUCT_ROWS};
use crate::plan::Plan;
use rayon::prelude::*;
use std::sync::Arc;
use std::time::Instant;

/// What one batch took, in seconds by the clock.
#[derive(Clone, Debug, Default)]
pub struct BatchTimes {
    /// Of each stage, on all threads of this process.
    pub stages: Vec<(&'static str, f64)>,
    /// For making the message of what it gave, and for taking it apart, on one thread.
    pub pack: f64,
    /// The second of these.
    pub unpack: f64,
    /// Bytes of the message.
    pub message: u64,
}

/// What one batch takes. Memory is touched for the first time in a batch before, which is not counted.
///
/// # Errors
/// Those of the forward and the encode.
#[allow(clippy::disallowed_methods, reason = "what it gives back are durations")]
pub fn measure_batch(plan: &Arc<Plan>, loaded: &Loaded, tokens: &Arc<TokenBatch>) -> Result<BatchTimes> {
    let mut fold = Fold::new(plan.clone(), 0, 1);
    let mut status = RunStatus::default();
    let mut out = BatchTimes::default();
    for _ in 0..2 {
        status = RunStatus::default();
        let batch = encode_batch(plan, loaded, tokens, &status, true, 0)?;
        status.timed(Stage::Fold, || fold.apply(&batch, false))?;
        let broken = |e: bincode::Error| Error::machine(format!("the message of a batch cannot be made: {e}"));
        let start = Instant::now();
        let message = bincode::serialize(&batch).map_err(broken)?;
        out.pack = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let arrived: EncodedBatch = bincode::deserialize(&message).map_err(broken)?;
        out.unpack = start.elapsed().as_secs_f64();
        out.message = message.len() as u64;
        drop(std::hint::black_box(arrived));
    }
    let stages = [Stage::Forward, Stage::Encode, Stage::Moments, Stage::Fold];
    out.stages = stages.into_iter().map(|s| (s.name(), status.seconds(s))).collect();
    Ok(out)
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
