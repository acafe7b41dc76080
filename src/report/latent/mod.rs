//! One latent, as its run knows it: statistics, labels, top-activating tokens in context, partners both ways, what is read of it out of other places, its
//! group.

mod card;
mod group;
mod json;
mod lines;
#[cfg(test)]
mod tests;
mod text;

pub use card::LatentCard;
