//! What a group is: its form, its members and the figures of its edges.

use super::graph::{Edge, Node};

/// What a group looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupKind {
    /// An edge between each two of its models.
    Clique,
    /// Some of these edges are not there, or were not compared.
    Chain,
    /// A piece that was cut out of a component with two latents of one place.
    Conflict,
}

impl GroupKind {
    /// As written in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            GroupKind::Clique => "clique",
            GroupKind::Chain => "chain",
            GroupKind::Conflict => "conflict",
        }
    }

    /// Reads what [`GroupKind::as_str`] wrote.
    pub fn from_name(name: &str) -> Option<GroupKind> {
        [GroupKind::Clique, GroupKind::Chain, GroupKind::Conflict].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The latent.
    pub node: Node,
    /// Its edges in the group.
    pub degree: u32,
    /// It stands for its model: the member with the largest sum of correlations with other models' members. Ties go to the lower
    /// node. In a group of one model every member does.
    pub best: bool,
}

/// Latents that are one feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its form.
    pub kind: GroupKind,
    /// Ascending, of different places; two at least.
    pub members: Vec<Member>,
    /// Different models among them.
    pub models: u32,
    /// Pairs of models with an edge; pairs of places in a group of one model.
    pub edges: u32,
    /// Pairs of models, or of places, that the run compares at all.
    pub edges_possible: u32,
    /// Lowest of the pairs' highest correlations.
    pub min_correlation: f64,
    /// Mean of the same.
    pub mean_correlation: f64,
    /// The edge of each of these pairs: its highest.
    pub counted: Vec<Edge>,
}

impl Group {
    /// Models, or in a group of one model places.
    fn parties(&self) -> u32 {
        if self.models > 1 { self.models } else { self.members.len() as u32 }
    }

    /// Whether each two of its models have an edge, wherever it was cut from.
    pub fn is_complete(&self) -> bool {
        self.edges == self.parties() * (self.parties() - 1) / 2
    }
}
