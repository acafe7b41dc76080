//! Do all models cut texts alike, and which tokenizer is each model's?

use crate::corpus::{BosRule, CorpusOptions, Tokenizer};
use crate::disk;
use crate::error::{Error, Result};
use crate::plan::PlannedModel;
use std::sync::Arc;

/// The tokenizers, one per view of a batch; each model is given its view. An outline has those that are there, which
/// may be none. With rows of tokens there is one for all; those that differ only in added tokens or behind its
/// vocabulary are kept with it, and every text is checked by them as it is read ([`Tokenizer::beside`]). With rows of
/// text (`of_text`) those that cut alike, with the same BOS and EOS, are one.
///
/// # Errors
/// `Request` for tokenizers that are not one where one is needed, or do not fit a model; those of reading.
pub(super) fn tokenizers(
    models: &mut [PlannedModel],
    of_text: bool,
    corpus: &CorpusOptions,
    outline: bool,
    assumptions: &mut Vec<String>,
) -> Result<Vec<Arc<Tokenizer>>> {
    let mut views: Vec<(String, Arc<Tokenizer>)> = Vec::new();
    for k in 0..models.len() {
        let (before, model) = models.split_at_mut(k);
        let model = &mut model[0];
        if outline && !disk::is_file(&model.path) && crate::model::tokenizer_files(&model.path).is_empty() {
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
                && (!of_text
                    || (tokenizer.bos_or_convention(), tokenizer.eos_id())
                        == (other.bos_or_convention(), other.eos_id()))
        };
        if let Some(view) = views.iter().position(|(_, other)| is_one(other)) {
            model.view = view;
            continue;
        }
        if !of_text && let Some((other, expected)) = views.pop() {
            refuse_unlike(corpus, [(&other, &expected), (&model.name, &tokenizer)])?;
            let both = Arc::unwrap_or_clone(expected).beside([&other, &model.name], Arc::new(tokenizer));
            views.push((other, Arc::new(both)));
            model.view = 0;
            continue;
        }
        model.view = views.len();
        views.push((model.name.clone(), Arc::new(tokenizer)));
    }
    Ok(views.into_iter().map(|(_, tokenizer)| tokenizer).collect())
}

/// Refuses two tokenizers that cannot be one: they cut texts by different rules, or put different tokens around them.
///
/// # Errors
/// `Request` naming the first difference.
fn refuse_unlike(corpus: &CorpusOptions, [(a, mine), (b, theirs)]: [(&str, &Tokenizer); 2]) -> Result<()> {
    let wrong = |how: String| {
        Err(Error::request(format!(
            "models {a:?} and {b:?} have different tokenizers ({how}), and align = \"token\" needs one for all: token i must be \
             the same text everywhere; write compare.align = \"span\", which compares pieces of text that all share, or give models of \
             one tokenizer"
        )))
    };
    if !mine.may_cut_as(theirs) {
        return wrong(mine.first_difference(theirs).unwrap_or_default());
    }
    let bos = mine.bos_or_convention().filter(|_| corpus.bos != BosRule::None);
    let eos = mine.eos_id().filter(|_| corpus.pack);
    let put = [("BOS", bos), ("EOS", eos)]
        .into_iter()
        .find_map(|(what, id)| Some((what, id?)).filter(|(_, id)| !mine.shares(theirs, *id)));
    match put {
        Some((what, id)) => wrong(format!("{:?}, the {what} of {a:?}, is no token of {b:?}", mine.token_text(id))),
        None => Ok(()),
    }
}

/// The tokenizer of a model, checked against its embedding.
fn read(model: &PlannedModel) -> Result<Tokenizer> {
    let tokenizer = crate::model::tokenizer(&model.path).map_err(|e| e.within(format!("model {:?}", model.name)))?;
    if tokenizer.vocab_size() > model.shape.n_vocab && !model.shape.is_width_alone() {
        return Err(Error::request(format!(
            "model {:?}: its tokenizer has {} tokens, its embedding {} rows; give the tokenizer that the model was trained with",
            model.name,
            tokenizer.vocab_size(),
            model.shape.n_vocab
        )));
    }
    Ok(tokenizer)
}
