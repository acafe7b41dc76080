//! What does a person see? The words and figures at the end of a run, one latent.

mod context;
mod latent;
mod summary;
mod words;

pub use context::Marker;
pub use latent::LatentCard;
pub use summary::{Speed, Summary};
pub use words::{duration, human_bytes, shown_token, thousands};
