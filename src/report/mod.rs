//! What does a person see? The words and figures at the end of a run, one latent, a page for a browser.

mod context;
mod evidence;
mod latent;
mod page;
mod summary;
mod words;

pub use context::Marker;
pub use evidence::{CAVEAT, Closeness, LEAST_RUNS_FOR_SD, closest, repeated_words, shown_sd};
pub use latent::LatentCard;
pub use page::{Beside, Decoders, RunFacts, page};
pub use summary::{Speed, Summary};
pub use words::{WIDTH, shown_token, wrapped};
