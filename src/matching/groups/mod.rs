//! Which latents of several places are one feature? Kept mutual matches in, groups out: connected components of the
//! graph whose nodes are latents and whose edges are those matches, each named by its form, and cut where it holds two
//! latents of one place.
//!
//! A latent has at most one mutual match in each other place, so a component with at most one latent of a place is a partial
//! matching over the places. A **clique** has an edge between each two of its models, a **chain** lacks some. A component with two
//! latents of one place is a **conflict** (A → B → C → A′ ≠ A): it is cut into pieces without one, in which each two latents of
//! compared places have an edge, the piece with the largest sum of correlations first (`split.rs`). A model with several places has the feature when any of its places has: edges are counted between
//! models, the best edge of each two; in a group of one model they are counted between its places.
//!
//! How many groups there are by chance is counted by the same functions from the matches of the rotated tiles.
//! Independent noise of F latents per place has some F^(K − K(K−1)/2) / 2^(K(K−1)/2) cliques over K places: F/2 for
//! two, 1/8 for three, none beyond. Rare latents that fire in the same row by accident are what is above that.

mod components;
mod cycles;
mod form;
mod graph;
mod group;
mod split;
#[cfg(test)]
mod tests;

pub use components::components;
pub use cycles::{Cycle, Triple, cycles};
pub use form::groups;
pub use graph::{Edge, MIN_PLACES, Node, Places};
pub use group::{Group, GroupKind, Member};
