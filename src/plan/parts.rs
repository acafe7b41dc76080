//! What is in a plan besides spaces? Pairs of spaces, tiles of pairs, raw hookpoints, and the cost of each.

use crate::ids::Site;
use crate::plan::Tap;

/// Two spaces that are compared: indices into [`Outline::spaces`](super::Outline::spaces).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Index of the source space.
    pub source: usize,
    /// Index of the target space.
    pub target: usize,
}

/// Source rows of a pair that are owned together; all of them where Σxy is sketched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Index into [`Outline::pairs`](super::Outline::pairs).
    pub pair: usize,
    /// Number of the tile in its pair.
    pub number: usize,
    /// First source latent.
    pub first_row: usize,
    /// Number of source latents.
    pub n_rows: usize,
}

/// A hookpoint whose raw activations are compared.
#[derive(Clone, Debug)]
pub struct RawSite {
    /// What it is called.
    pub site: Site,
    /// Where it is read.
    pub tap: Tap,
    /// Width of the hookpoint.
    pub width: usize,
}

/// Two hookpoints whose raw activations are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPair {
    /// Index into [`Outline::pairs`](super::Outline::pairs).
    pub pair: usize,
    /// The source: index into [`Outline::raw_sites`](super::Outline::raw_sites).
    pub source: usize,
    /// The target.
    pub target: usize,
}

/// Latents of a space that are read out of the raw activations of another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedReadout {
    /// The latents' space: index into [`Outline::spaces`](super::Outline::spaces).
    pub space: usize,
    /// The activations: index into [`Outline::readout_sites`](super::Outline::readout_sites).
    pub site: usize,
}

/// Two places whose raw activations are mapped into each other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedStitch {
    /// Index into [`Outline::pairs`](super::Outline::pairs).
    pub pair: usize,
    /// The source's place: index into [`Outline::readout_sites`](super::Outline::readout_sites).
    pub source: usize,
    /// The target's place.
    pub target: usize,
}

/// Latents of a readout that are owned together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strip {
    /// Index into [`Outline::readouts`](super::Outline::readouts).
    pub readout: usize,
    /// Number of the strip in its readout.
    pub number: usize,
    /// First latent.
    pub first: usize,
    /// Number of latents.
    pub n_latents: usize,
}

/// One thing that takes memory or disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// What kind of thing it is.
    pub kind: &'static str,
    /// Which one; empty where there is but one.
    pub of: String,
    /// Bytes of memory at most.
    pub memory_bytes: u64,
    /// Bytes on disk per checkpoint at most; two checkpoints are kept.
    pub disk_bytes: u64,
    /// Whether it is needed only while batches stream, not for what is published from sums.
    pub only_streaming: bool,
}

impl Cost {
    /// What it is, in words.
    pub fn what(&self) -> String {
        format!("{} {}", self.kind, self.of).trim_end().to_string()
    }
}
