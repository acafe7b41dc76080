//! What is asked of a hub, and what it reports of a download.

/// What is to be opened there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// A model's configuration alone.
    Config,
    /// A model's configuration and weights.
    Weights,
    /// The same with its tokenizer.
    Model,
    /// One SAE: a folder with one file of weights, or that file.
    Sae,
}

/// Part of a download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadStep<'a> {
    /// The file, as the repository names it.
    pub file: &'a str,
    /// Its size.
    pub size_bytes: u64,
    /// Bytes that are already here.
    pub done_bytes: u64,
}

/// Hears of every step.
pub type Tell<'a> = &'a dyn Fn(&DownloadStep);
