//! What the filters need to know of latents: counts from sums, strings from top-activating tokens.

use crate::engine::message::{SpaceSnapshot, Spaces};
use crate::matching::{AROUND, Categories, Correlation, Filters, LatentFacts, Lexicon, Shown, TOP_STRINGS};
use crate::moments::TopToken;
use crate::plan::Plan;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Facts of every latent of every space. Strings are numbered once for all spaces, so that two sides can be compared.
pub fn facts_of(spaces: &Spaces, filters: &Filters, plan: &Plan) -> BTreeMap<usize, Vec<LatentFacts>> {
    let mut strings = Strings { plan, filters, by_token: BTreeMap::new(), numbers: BTreeMap::new() };
    let mut facts = |known: &SpaceSnapshot, i: usize| {
        let sums = &known.sums;
        let tokens: Vec<Token> =
            if filters.reads_tokens() { strings.strongest(known.space, &known.top[i]) } else { Vec::new() };
        let mut top: Vec<u32> = tokens.iter().map(|t| t.number).collect();
        top.sort_unstable();
        top.dedup();
        LatentFacts {
            dead: !sums.is_alive(i),
            constant: sums.is_constant(i),
            n_active: sums.n_active[i],
            max: Correlation::new(f64::from(sums.max[i])),
            non_concept: tokens.iter().any(|t| t.non_concept),
            top,
        }
    };
    spaces.iter().map(|(&s, known)| (s, (0..known.sums.d_sae()).map(|i| facts(known, i)).collect())).collect()
}

/// Latents of each category, ascending, by space.
pub fn members_of(spaces: &Spaces, lists: &Categories, plan: &Plan) -> BTreeMap<usize, Vec<Vec<u32>>> {
    let lexicon = Lexicon::new(lists);
    let shown = |space: usize, t: &TopToken| {
        let tokenizer = plan.tokenizer_of(space);
        let text = |ids: &[u32]| ids.iter().map(|&id| tokenizer.token_text(id)).collect::<String>();
        let at = t.at as usize;
        let around = at.saturating_sub(AROUND[0])..(at + 1 + AROUND[1]).min(t.context.len());
        Shown { token: tokenizer.token_text(t.token()), around: text(&t.context[around]) }
    };
    let members = |known: &SpaceSnapshot| {
        let of: Vec<Vec<usize>> = (known.top.par_iter())
            .map(|top| {
                lexicon.categories_of(&top.iter().take(TOP_STRINGS).map(|t| shown(known.space, t)).collect::<Vec<_>>())
            })
            .collect();
        let mut out = vec![Vec::new(); lists.categories.len()];
        for (latent, categories) in of.into_iter().enumerate() {
            categories.into_iter().for_each(|k| out[k].push(latent as u32));
        }
        out
    };
    spaces.iter().map(|(&s, known)| (s, members(known))).collect()
}

#[derive(Clone, Copy)]
struct Token {
    /// Number of its string.
    number: u32,
    non_concept: bool,
}

/// Strings of tokens as they are met.
struct Strings<'a> {
    plan: &'a Plan,
    filters: &'a Filters,
    /// By view and id.
    by_token: BTreeMap<(usize, u32), Token>,
    numbers: BTreeMap<String, u32>,
}

impl Strings<'_> {
    fn strongest(&mut self, space: usize, top: &[TopToken]) -> Vec<Token> {
        top.iter().take(TOP_STRINGS).map(|t| self.token(space, t.token())).collect()
    }

    fn token(&mut self, space: usize, id: u32) -> Token {
        let view = self.plan.models()[self.plan.spaces()[space].model()].view;
        if let Some(known) = self.by_token.get(&(view, id)) {
            return *known;
        }
        let tokenizer = self.plan.tokenizer_of(space);
        let (text, special) = (tokenizer.token_text(id), tokenizer.is_special(id));
        let non_concept = self.filters.non_concept.iter().any(|list| list.holds(&text, special));
        let next = self.numbers.len() as u32;
        let number = *self.numbers.entry(text).or_insert(next);
        let token = Token { number, non_concept };
        self.by_token.insert((view, id), token);
        token
    }
}
