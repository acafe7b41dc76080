//! What does a person see? The words and figures at the end of a run.

mod summary;
mod words;

pub use summary::{Speed, Summary};
pub use words::{duration, human_bytes, shown_token, thousands};
