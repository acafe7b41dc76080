//! Do all models cut texts alike, and with which tokenizer?

use crate::corpus::Tokenizer;
use crate::error::{Error, Result};
use crate::plan::PlannedModel;

/// The common tokenizer; of an outline, of the models that have theirs at hand; `None` where none has.
///
/// # Errors
/// `Request` for tokenizers that are not one, or do not fit a model; those of reading.
pub(super) fn tokenizer(
    models: &[PlannedModel],
    outline: bool,
    assumptions: &mut Vec<String>,
) -> Result<Option<Tokenizer>> {
    let (here, not_here): (Vec<&PlannedModel>, Vec<&PlannedModel>) =
        models.iter().partition(|m| !outline || m.path.is_file() || !crate::model::tokenizer_files(&m.path).is_empty());
    for model in &not_here {
        assumptions
            .push(format!("the tokenizer of model {:?} is not here; it is taken to be that of the others", model.name));
    }
    if here.is_empty() { Ok(None) } else { common_tokenizer(&here).map(Some) }
}

/// The tokenizer of the first model, after it is known that all cut texts alike.
fn common_tokenizer(models: &[&PlannedModel]) -> Result<Tokenizer> {
    let mut first: Option<(&PlannedModel, Tokenizer)> = None;
    for (k, &model) in models.iter().enumerate() {
        if models[..k].iter().any(|m| m.path == model.path) {
            continue;
        }
        let tokenizer =
            crate::model::tokenizer(&model.path).map_err(|e| e.within(format!("model {:?}", model.name)))?;
        if tokenizer.vocab_size() > model.shape.n_vocab {
            return Err(Error::request(format!(
                "model {:?}: its tokenizer has {} tokens, its embedding {} rows; give the tokenizer that the model was \
                 trained with",
                model.name,
                tokenizer.vocab_size(),
                model.shape.n_vocab
            )));
        }
        match &first {
            None => first = Some((model, tokenizer)),
            Some((other, expected)) if !tokenizer.cuts_as(expected) => {
                return Err(Error::request(format!(
                    "models {:?} and {:?} have different tokenizers, and align = \"token\" needs one for all: token i \
                     must be the same text everywhere; give models of one tokenizer",
                    other.name, model.name
                )));
            }
            Some(_) => {}
        }
    }
    Ok(first.expect("a pair has models").1)
}
