//! What travels between workers.
//!
//! In one process these are moved or shared; between processes they are serialised. A batch travels whole, once to every
//! worker: after the encode it is small.

use crate::corpus::TokenBatch;
use crate::ids::BatchIndex;
use crate::linalg::Matrix;
use crate::matching::{BestPartners, Correlation, Direction, ListedFigures};
use crate::moments::{
    Alignment, Candidates, CrossCoMoment, DocumentRows, FoldCross, FoldMoments, GivenSums, LabelSums, LatentSums, Null,
    Repeated, SiteMoments, TopToken,
};
use crate::sae::LatentBatch;
use crate::store::{SecondPass, SnapshotDue};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is due after a batch. The source alone decides, and every worker follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// The batch.
    pub t: BatchIndex,
    /// What comes with this.
    pub brings: Brings,
    /// Counted rows up to and including this batch; in a second pass, all counted rows of the first pass.
    pub rows: u64,
    /// Which time the batch is read.
    pub pass: Pass,
    /// A new list of pairs of latents, which counts from this batch on.
    pub listing: Option<Arc<Listing>>,
    /// The snapshot to take.
    pub snapshot: Option<Snapshot>,
    /// Whether partners are listed after it.
    pub list: bool,
    /// The checkpoint to take.
    pub checkpoint: Option<CheckpointDue>,
    /// What comes after it.
    pub next: Next,
}

/// What a control comes with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Brings {
    /// A batch, to be added.
    Batch,
    /// Nothing: the run resumes behind batch t, from a checkpoint at which this snapshot is due.
    Resumed,
    /// Nothing: the state before batch t is saved, with a snapshot due that a stop has kept from being published.
    Stop(SnapshotDue),
}

/// Pairs of latents that more is counted of: (source, target), ascending, of each pair of spaces in the plan's order.
pub type Listing = Vec<Vec<(u32, u32)>>;

/// Whether a batch is read for the first or the second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pass {
    /// The first: it enters all sums.
    First,
    /// The second: it is counted on candidates and nowhere else.
    Second,
}

/// A snapshot that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its number, from 1.
    pub number: u32,
    /// Whether candidates are chosen again.
    pub choose: bool,
}

/// A checkpoint that is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointDue {
    /// Position in the corpus, as JSON.
    pub cursor: String,
    /// The second pass, from the end of the first on.
    pub second: Option<SecondPass>,
}

/// What comes after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Next {
    /// Another batch.
    Batch,
    /// The corpus from its beginning, for the second time.
    SecondPass,
    /// Nothing: the corpus is read to its end, or as far as was asked.
    End,
    /// Nothing: the stop rule is met, with more of the corpus to come.
    Converged,
}

impl Control {
    /// The first batch that is not in the sums behind it.
    pub fn next_batch(&self) -> BatchIndex {
        match self.brings {
            Brings::Batch | Brings::Resumed => self.t + 1,
            Brings::Stop(_) => self.t,
        }
    }

    /// Whether the batch is the last of the run.
    pub fn is_last(&self) -> bool {
        matches!(self.next, Next::End | Next::Converged)
    }

    /// Whether nothing more may come in until what is due is done.
    pub fn is_due(&self) -> bool {
        self.snapshot.is_some() || self.checkpoint.is_some() || self.list
    }
}

/// A batch on its way to its forward.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PendingBatch {
    pub control: Control,
    pub tokens: Arc<TokenBatch>,
}

/// What a batch gave, for one worker (`to`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EncodedPart {
    pub to: u64,
    pub control: Control,
    pub batch: Arc<EncodedBatch>,
}

/// What a batch gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EncodedBatch {
    pub tokens: Arc<TokenBatch>,
    /// One per space of the plan.
    pub latents: Vec<LatentBatch>,
    /// One per hookpoint whose raw activations are compared.
    pub moments: Vec<SiteMoments>,
    /// One per pair of such hookpoints.
    pub cross_moments: Vec<CrossCoMoment>,
    /// One per place whose moments are kept by half: its raw activations, `[n_rows, width]`, where latents are read out of it, and these moments.
    pub raw: Vec<(Option<Matrix<f32>>, FoldMoments)>,
    /// One per pair of places that are mapped into each other.
    pub stitches: Vec<FoldCross>,
}

/// What the fold emits at a snapshot or a checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Folded {
    /// A changed row for the views: −1 the old one, +1 the new one.
    Delta(ViewInput, i8),
    /// A note for the publisher.
    Note(Note),
}

/// For the publisher.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Note {
    /// A snapshot or checkpoint is due.
    Due(Control),
    /// Everything known of one space.
    Space(Arc<SpaceSnapshot>),
    /// Raw moments: index in the plan's list, then the moments.
    Moments(usize, Arc<SiteMoments>),
    /// Raw cross moments.
    CrossMoments(usize, Arc<CrossCoMoment>),
    /// What one worker's part of a pair gives by chance.
    Chance(Arc<ChanceSnapshot>),
    /// How many documents the rows are of.
    Documents(DocumentRows),
    /// How well the candidates of a pair are known.
    Candidates(usize, Arc<Candidates>),
    /// The figures of a pair's listed latents.
    Listed(usize, Arc<ListedFigures>),
    /// How many of the contexts were seen before.
    Contexts(Repeated),
    /// How tokens share the rows, where rows are pieces of text.
    Alignment(Alignment),
    /// A state file is on disk.
    Saved(SavedFile),
}

/// A state file that a checkpoint names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedFile {
    /// Path relative to the run directory.
    pub path: String,
    pub size: u64,
    /// blake3 of the content, hexadecimal.
    pub digest: String,
}

/// Everything known of the latents of one space.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SpaceSnapshot {
    pub space: usize,
    pub sums: LatentSums,
    pub top: Vec<Vec<TopToken>>,
    pub labels: LabelSums,
    /// Documents in which each latent fired, `[d_sae]`.
    pub documents: Vec<u32>,
    /// What each latent's token explains of it; none where rows have no partners.
    pub given: Option<GivenSums>,
}

/// Best partners when rows are paired otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChanceSnapshot {
    pub pair: usize,
    /// How they are paired.
    pub null: Null,
    /// (source latent, best targets), of the sources at hand.
    pub forward: Vec<(u32, BestPartners)>,
    /// Best of the sources at hand for each target latent; `[d_target]`.
    pub backward: Vec<BestPartners>,
}

/// Every space at a snapshot, by its index in the plan.
pub type Spaces = BTreeMap<usize, Arc<SpaceSnapshot>>;

/// The co-moments of raw activations at a snapshot, by their index in the plan.
#[derive(Default)]
pub struct RawMoments {
    pub own: BTreeMap<usize, Arc<SiteMoments>>,
    pub cross: BTreeMap<usize, Arc<CrossCoMoment>>,
}

/// A latent's partner of one rank, as it comes in to the views and as they hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BestRow {
    pub direction: Direction,
    pub pair: u32,
    /// The latent that picks.
    pub latent: u32,
    /// 0 is the best.
    pub rank: u8,
    pub partner: u32,
    pub correlation: Correlation,
}

/// A row that the views are maintained from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ViewInput {
    /// From the worker that knows all partners of the latent.
    Best(BestRow),
    /// One worker's candidate for a target latent.
    Candidate { pair: u32, target: u32, source: u32, correlation: Correlation },
}

/// A row of the maintained views.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ViewRow {
    /// A latent's partner of one rank.
    Best(BestRow),
    /// Each is the other's best.
    Mutual { pair: u32, source: u32, target: u32 },
}
