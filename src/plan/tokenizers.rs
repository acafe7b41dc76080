//! Do all models cut texts alike, and which tokenizer is each model's?

use crate::corpus::Tokenizer;
use crate::error::{Error, Result};
use crate::plan::PlannedModel;
use crate::spec::Align;
use std::sync::Arc;

/// The tokenizers, one per view of a batch, each model given its view; of an outline, of the models that have theirs at hand; none where
/// no model has. With rows of tokens there is one for all; with rows of text those that cut alike, with the same BOS and EOS, are one.
///
/// # Errors
/// `Request` for tokenizers that are not one where one is needed, or do not fit a model; those of reading.
pub(super) fn tokenizers(
    models: &mut [PlannedModel],
    align: Align,
    outline: bool,
    assumptions: &mut Vec<String>,
) -> Result<Vec<Arc<Tokenizer>>> {
    let mut views: Vec<(String, Arc<Tokenizer>)> = Vec::new();
    for k in 0..models.len() {
        let (before, model) = models.split_at_mut(k);
        let model = &mut model[0];
        if outline && !model.path.is_file() && crate::model::tokenizer_files(&model.path).is_empty() {
            assumptions.push(format!(
                "the tokenizer of model {:?} is not here; it is taken to be that of the others",
                model.name
            ));
            continue;
        }
        if let Some(same) = before.iter().find(|m| m.path == model.path) {
            model.view = same.view;
            continue;
        }
        let tokenizer = read(model)?;
        let is_one = |other: &Tokenizer| {
            tokenizer.cuts_as(other)
                && (align == Align::Token
                    || (tokenizer.bos_or_convention(), tokenizer.eos_id())
                        == (other.bos_or_convention(), other.eos_id()))
        };
        if let Some(view) = views.iter().position(|(_, other)| is_one(other)) {
            model.view = view;
            continue;
        }
        if let (Align::Token, Some((other, expected))) = (align, views.first()) {
            let how = expected.first_difference(&tokenizer).unwrap_or_default();
            return Err(Error::request(format!(
                "models {other:?} and {:?} have different tokenizers ({how}), and align = \"token\" needs one for all: token i must be \
                 the same text everywhere; write compare.align = \"span\", which compares pieces of text that all share, or give models of \
                 one tokenizer",
                model.name
            )));
        }
        model.view = views.len();
        views.push((model.name.clone(), Arc::new(tokenizer)));
    }
    Ok(views.into_iter().map(|(_, tokenizer)| tokenizer).collect())
}

/// The tokenizer of a model, held against its embedding.
fn read(model: &PlannedModel) -> Result<Tokenizer> {
    let tokenizer = crate::model::tokenizer(&model.path).map_err(|e| e.within(format!("model {:?}", model.name)))?;
    if tokenizer.vocab_size() > model.shape.n_vocab {
        return Err(Error::request(format!(
            "model {:?}: its tokenizer has {} tokens, its embedding {} rows; give the tokenizer that the model was trained with",
            model.name,
            tokenizer.vocab_size(),
            model.shape.n_vocab
        )));
    }
    Ok(tokenizer)
}
