//! Where do the latents of a space come from? From an SAE that reads a model's hookpoint, from that hookpoint itself, or from a feed or files that give them.

use crate::device::Compute;
use crate::error::Result;
use crate::ids::{Hookpoint, Site};
use crate::linalg::bf16::HalfPanels;
use crate::sae::{Encode, RandomSae, Reading, Sae, SaeShape, Scale};
use std::path::PathBuf;

/// What is compared: columns, used wherever latents are.
#[derive(Clone, Debug)]
pub struct Space {
    /// What it is called: where its input is read.
    pub site: Site,
    /// Number of latents.
    pub width: usize,
    /// Where their values come from.
    pub origin: Origin,
}

/// Where the values of a space come from. Code that makes the values, counts their bytes or names them has a `match`, so a new kind of
/// origin does not compile until each of these handles it.
#[derive(Clone, Debug)]
pub enum Origin {
    /// The latents of an SAE, from what a model holds at a hookpoint.
    Sae {
        /// What is encoded.
        tap: Tap,
        /// The SAE.
        sae: Box<PlannedSae>,
    },
    /// Latents that are not computed here: a feed or files give them.
    Fed {
        /// Index of the model.
        model: usize,
        /// Index among the places that latents are given of.
        nth: usize,
        /// Latents that fire on a token at most.
        most: usize,
    },
    /// The dimensions of a hookpoint as they are.
    Raw {
        /// What is taken.
        tap: Tap,
    },
}

/// One of the hookpoints that are read in a forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tap {
    /// Index of the model.
    pub model: usize,
    /// Index of the hookpoint among the model's.
    pub slot: usize,
}

impl Space {
    /// Its SAE, for code that concerns SAEs alone.
    pub fn sae(&self) -> Option<&PlannedSae> {
        match &self.origin {
            Origin::Sae { sae, .. } => Some(sae),
            Origin::Fed { .. } | Origin::Raw { .. } => None,
        }
    }

    /// Index of its model.
    pub fn model(&self) -> usize {
        match self.origin {
            Origin::Sae { tap, .. } | Origin::Raw { tap } => tap.model,
            Origin::Fed { model, .. } => model,
        }
    }

    /// Where its input is read; `None` where latents are given, and what they were made of is not here.
    pub fn tap(&self) -> Option<Tap> {
        match self.origin {
            Origin::Sae { tap, .. } | Origin::Raw { tap } => Some(tap),
            Origin::Fed { .. } => None,
        }
    }

    /// Whether it is a hookpoint's own dimensions.
    pub fn is_raw(&self) -> bool {
        match self.origin {
            Origin::Sae { .. } | Origin::Fed { .. } => false,
            Origin::Raw { .. } => true,
        }
    }
}

/// An SAE to be loaded.
#[derive(Clone, Debug)]
pub struct PlannedSae {
    /// Where it is.
    pub path: PathBuf,
    /// How it is read, where that differs from what its files say.
    pub reading: Reading,
    /// Its sizes.
    pub shape: SaeShape,
    /// Drawn at random in its place, for a control, with the sizes of the SAE at `path`.
    pub random: Option<RandomSae>,
    /// Where it reads, which names the stream of a random one.
    pub place: String,
    /// Which of its outputs is streamed.
    pub encode: Encode,
    /// What it predicts, where its files say so and it is another place than it reads.
    pub output: Option<Hookpoint>,
    /// What an SAE of its release is multiplied by, where the registry says so.
    pub registered_scale: Option<f64>,
    /// Its id on Neuronpedia, where the registry gives one.
    pub neuronpedia: Option<String>,
    /// Whether an FVU of 1 or more is expected.
    pub any_fvu: bool,
    /// With what it is encoded, where, and in which numbers: as its model.
    pub computed: Vec<Compute>,
}

impl PlannedSae {
    /// Its sizes, and how its input is taken where that is not as it is.
    pub fn in_words(&self) -> String {
        let scale = Some(self.scale()).filter(|&scale| scale != 1.0).map(|scale| format!(", input times {scale}"));
        let center = if self.reading.center { ", mean taken off" } else { "" };
        let random = self.random.map(|random| format!(", drawn at random ({random})"));
        format!("{}{}{center}{}", self.shape, scale.unwrap_or_default(), random.unwrap_or_default())
    }

    /// What activations are multiplied by before the SAE: as the dataflow file or the registry has it, else its files; 1 where
    /// none of them has one.
    pub fn scale(&self) -> f64 {
        let own = if let Scale::Factor(own) = self.shape.declared.scale { own } else { 1.0 };
        self.reading.scale.unwrap_or(own)
    }

    /// Bytes that its loaded weights take.
    pub fn memory_bytes(&self) -> u64 {
        let (d_in, d_sae) = (self.shape.d_in, self.shape.d_sae);
        let whole = self.shape.memory_bytes();
        if self.is_in_bf16() {
            whole - 4 * (d_in * d_sae) as u64 + HalfPanels::memory_bytes(d_in, d_sae)
        } else {
            whole
        }
    }

    /// Whether its encoder is rounded to bf16, as its model's layers are.
    pub fn is_in_bf16(&self) -> bool {
        self.computed.iter().any(Compute::rounds_for_kernels)
    }

    /// The SAE, ready to encode as its model is computed.
    ///
    /// # Errors
    /// Those of [`PlannedSae::open`] and [`Sae::computed`].
    pub fn encoder(&self) -> Result<Sae> {
        self.open()?.computed(&self.computed)
    }

    /// The SAE, read as the dataflow file wants it, or the random one in its place.
    ///
    /// # Errors
    /// Those of [`crate::sae::open_as`] and [`RandomSae::open`].
    pub fn open(&self) -> Result<Sae> {
        if let Some(random) = self.random {
            return random.open(&self.path, &self.reading, &self.place);
        }
        crate::sae::open_as(&self.path, &self.reading)
    }
}
