//! Where in its context is a top-activating token? Tables hold the context as text, so the place is found again with
//! the tokenizer.

use crate::corpus::Tokenizer;
use crate::table::TopTokenCell;
use std::collections::BTreeMap;
use std::ops::Range;

/// Finds top-activating tokens in their contexts.
pub struct Marker {
    tokenizer: Option<Tokenizer>,
    before: usize,
    after: usize,
    /// Those of models with tokenizers of their own.
    of_models: BTreeMap<String, Marker>,
}

impl Marker {
    /// With the run's tokenizer and its `top_context`. Without a tokenizer only tokens that occur once are found.
    pub fn new(tokenizer: Option<Tokenizer>, [before, after]: [usize; 2]) -> Self {
        Marker { tokenizer, before, after, of_models: BTreeMap::new() }
    }

    /// The same where each model has a tokenizer of its own.
    pub fn of_models(tokenizers: BTreeMap<String, Tokenizer>, top_context: [usize; 2]) -> Self {
        let of_models = tokenizers.into_iter().map(|(model, t)| (model, Marker::new(Some(t), top_context))).collect();
        Marker { of_models, ..Marker::new(None, top_context) }
    }

    /// The one for contexts of a model.
    pub fn of(&self, model: &str) -> &Marker {
        self.of_models.get(model).unwrap_or(self)
    }

    /// Byte range of the strong token in `top.context`. `None` when it cannot be found: the text is tokenized differently by
    /// itself, or the token is part of a character.
    ///
    /// A context begins `before` tokens ahead of the strong token and ends `after` tokens behind it, or at the ends of the
    /// document. When the token occurs several times, the position that fits these lengths is taken.
    pub fn place(&self, top: &TopTokenCell) -> Option<Range<usize>> {
        let (token, context) = (top.token.as_str(), top.context.as_str());
        if token.is_empty() {
            return None;
        }
        let mut plain = context.match_indices(token);
        if let (Some((at, _)), None) = (plain.next(), plain.next()) {
            return Some(at..at + token.len());
        }
        let encoded = self.tokenizer.as_ref()?.encode_with_offsets(context).ok()?;
        let n = encoded.spans.len();
        let mut byte_of: Vec<usize> = context.char_indices().map(|(i, _)| i).collect();
        byte_of.push(context.len());
        let bytes = |k: usize| {
            let (from, to) = encoded.spans[k];
            Some(*byte_of.get(from)?..*byte_of.get(to)?)
        };
        // some tokenizers leave the space before a word out of its span
        let is_it = |k: usize| bytes(k).is_some_and(|r| context[r].trim_start() == token.trim_start());
        let fits = |k: &usize| n - 1 - k == self.after || *k == self.before;
        let mut found = (0..n).filter(|&k| is_it(k));
        let all: Vec<usize> = found.by_ref().collect();
        let best = all.iter().copied().find(|k| n - 1 - k == self.after).or_else(|| all.iter().copied().find(fits));
        bytes(best?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn top(token: &str, context: &str) -> TopTokenCell {
        TopTokenCell { token: token.into(), value: 1.0, context: context.into(), document: "d".into() }
    }

    #[test]
    fn a_token_that_occurs_often_is_found_by_its_distance_from_the_end() {
        let tokenizer = Tokenizer::from_folder(Path::new("data/demo/models/small-a")).unwrap();
        let marker = Marker::new(Some(tokenizer), [12, 2]);
        let context = " of the first of all of it";
        // " of" occurs three times; only the last has two tokens or fewer behind it
        let n = marker.tokenizer.as_ref().unwrap().encode(context).unwrap().len();
        let behind = marker.tokenizer.as_ref().unwrap().encode(" all of it").unwrap().len();
        let marker = Marker { after: behind, ..marker };
        assert!(n > behind);
        assert_eq!(marker.place(&top(" of", context)), Some(13..16));
        assert_eq!(marker.place(&top(" first", context)), Some(7..13), "once");
        assert_eq!(Marker::new(None, [12, 2]).place(&top(" of", context)), None, "not to be told");
        assert_eq!(marker.place(&top("�", "日")), None);
        assert_eq!(marker.place(&top("", "x")), None);
        assert_eq!(marker.place(&top("を", "日本を、")), Some(6..9));
    }
}
