//! What arrived for one batch that has something due: views, sums and state files, from all workers.

use crate::engine::message::{ChanceSnapshot, Control, Note, RawMoments, SavedFile, Spaces, ViewRow};
use crate::engine::results::judged::MatchFacts;
use crate::matching::ListedFigures;
use crate::moments::{Alignment, Candidates, DocumentRows, Repeated};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What arrived for one batch that has something due.
#[derive(Default)]
pub struct Due {
    pub control: Option<Control>,
    pub deltas: Vec<(ViewRow, isize)>,
    pub spaces: Spaces,
    pub raw: RawMoments,
    pub chance: Vec<Arc<ChanceSnapshot>>,
    pub documents: DocumentRows,
    /// How well the candidates of a pair are known; none where Σxy is exact.
    pub candidates: BTreeMap<usize, Arc<Candidates>>,
    /// The figures of each pair's listed latents.
    pub listed: BTreeMap<usize, Arc<ListedFigures>>,
    /// How many of the contexts were seen before; `None` without contexts.
    pub contexts: Option<Repeated>,
    /// How tokens share the rows; `None` where each token is one.
    pub alignment: Option<Alignment>,
    pub saved: Vec<SavedFile>,
}

impl Due {
    /// Takes a note in.
    pub fn note(&mut self, note: Note) {
        match note {
            Note::Due(control) => self.control = Some(control),
            Note::Space(s) => {
                self.spaces.insert(s.space, s);
            }
            Note::Moments(k, m) => {
                self.raw.own.insert(k, m);
            }
            Note::CrossMoments(k, m) => {
                self.raw.cross.insert(k, m);
            }
            Note::Chance(c) => self.chance.push(c),
            Note::Documents(d) => self.documents = d,
            Note::Candidates(pair, candidates) => {
                self.candidates.insert(pair, candidates);
            }
            Note::Listed(pair, figures) => {
                self.listed.insert(pair, figures);
            }
            Note::Contexts(repeated) => self.contexts = Some(repeated),
            Note::Alignment(alignment) => self.alignment = Some(alignment),
            Note::Saved(file) => self.saved.push(file),
        }
    }

    /// What the views are judged by.
    pub fn facts(&self) -> MatchFacts<'_> {
        let Due { spaces, chance, candidates, listed, documents, .. } = self;
        MatchFacts { spaces, chance, candidates, listed, documents }
    }
}
