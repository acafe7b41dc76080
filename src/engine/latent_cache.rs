//! Where did some latents fire in a sample of contexts, and how strongly? The corpus of a run is read again, and its models run over the sampled
//! contexts alone.
//!
//! A run keeps each latent's strongest tokens and the text around them, and no other firing. An explanation of a latent
//! also needs contexts where it fires weakly or not at all: these are computed again.

use crate::corpus::{Document, TokenBatch};
use crate::engine::encode::Loaded;
use crate::error::{Error, Result};
use crate::ids::BatchIndex;
use crate::linalg::Stream;
use crate::plan::Plan;
use crate::weights::Firing;
use std::collections::{BTreeMap, BinaryHeap};

/// The sampled contexts of one model, and what its SAEs made of them.
pub struct Cached {
    /// Index of the model in the plan.
    pub model: usize,
    /// Full contexts of its tokens, in corpus order: `[n][context_length]`.
    pub contexts: Vec<Vec<u32>>,
    /// Full contexts that there were to choose from.
    pub n_full: u64,
    /// Firings of the wanted latents in them, by the index of their space; by context, position and latent.
    pub firings: BTreeMap<usize, Vec<Firing>>,
}

/// A context with its place in an order that is drawn; the lowest are kept.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Drawn {
    /// From the run's seed and the context's number, so two models of one tokenizer get the same contexts.
    draw: u64,
    number: u64,
    ids: Vec<u32>,
    counted: Vec<bool>,
}

/// For each model with `wanted` latents (ascending, by the index of their space) at most `n` full contexts, drawn without regard to what is in
/// them, of the first `rows` rows of the corpus. Special tokens that the run does not count have no firing.
///
/// # Errors
/// Those of reading the corpus, of loading, of the forward and of the encode.
pub fn cache_latents(plan: &Plan, wanted: &BTreeMap<usize, Vec<u32>>, n: usize, rows: u64) -> Result<Vec<Cached>> {
    let sampled = sample(plan, n, rows)?;
    let loaded = Loaded::open(plan)?;
    let mut out = Vec::new();
    for (k, planned) in plan.models().iter().enumerate() {
        let of_model = |space: &&usize| plan.spaces()[**space].model() == k;
        let spaces: Vec<usize> = wanted.keys().filter(of_model).copied().collect();
        if spaces.is_empty() {
            continue;
        }
        let (drawn, n_full) = &sampled[planned.view];
        let mut firings: BTreeMap<usize, Vec<Firing>> = spaces.iter().map(|&s| (s, Vec::new())).collect();
        for (c, chunk) in drawn.chunks(plan.spec().corpus.batch_contexts).enumerate() {
            let first = (c * plan.spec().corpus.batch_contexts) as u32;
            let batch = batch_of(chunk);
            let read = (loaded.models[k].read(0, &batch, &batch.views[0], &planned.hookpoints, &[]))
                .map_err(|e| e.within(format!("model {:?}", planned.name)))?;
            for (&s, firings) in &mut firings {
                let space = &plan.spaces()[s];
                let within = |e: Error| e.within(format!("sae \"{}\"", space.site));
                let sae = loaded.saes[s].as_ref().expect("a wanted latent is an SAE's");
                let encode = space.sae().expect("a wanted latent is an SAE's").encode;
                let slot = space.tap().expect("an SAE reads a place").slot;
                let latents = sae.encode(&read.activations[slot].x, encode).map_err(within)?;
                for (token, (_, context, position)) in batch.views[0].tokens().enumerate() {
                    let (fired, values) = latents.row(token);
                    firings.extend(
                        (fired.iter().zip(values)).filter(|(l, _)| wanted[&s].binary_search(l).is_ok()).map(
                            |(&latent, &activation)| Firing {
                                sequence: first + context as u32,
                                position: position as u32,
                                latent,
                                activation,
                            },
                        ),
                    );
                }
            }
        }
        firings.values_mut().for_each(|found| found.retain(Firing::counts));
        let contexts = drawn.iter().map(|d| d.ids.clone()).collect();
        out.push(Cached { model: k, contexts, n_full: *n_full, firings });
    }
    Ok(out)
}

/// For each view the drawn contexts in corpus order, and how many full ones there are.
fn sample(plan: &Plan, n: usize, rows: u64) -> Result<Vec<(Vec<Drawn>, u64)>> {
    let mut options = plan.spec().corpus.clone();
    options.max_tokens = rows;
    let length = options.context_length;
    let mut corpus = plan.open_corpus(options)?;
    let n_views = plan.models().iter().map(|m| m.view + 1).max().unwrap_or(0);
    let mut kept: Vec<(BinaryHeap<Drawn>, u64)> = (0..n_views).map(|_| (BinaryHeap::new(), 0)).collect();
    while let Some(batch) = corpus.next_batch()? {
        for (view, (heap, n_full)) in batch.views.iter().zip(&mut kept) {
            for context in view.contexts.iter().filter(|c| c.ids.len() == length) {
                let draw = Stream::new(plan.spec().seed, "sampled contexts", *n_full).next_u64();
                if heap.len() < n || heap.peek().is_some_and(|last| draw < last.draw) {
                    let counted = context.row_of.iter().map(Option::is_some).collect();
                    heap.push(Drawn { draw, number: *n_full, ids: context.ids.clone(), counted });
                    if heap.len() > n {
                        heap.pop();
                    }
                }
                *n_full += 1;
            }
        }
    }
    let in_order = |heap: BinaryHeap<Drawn>| {
        let mut drawn = heap.into_vec();
        drawn.sort_by_key(|d| d.number);
        drawn
    };
    Ok(kept.into_iter().map(|(heap, n_full)| (in_order(heap), n_full)).collect())
}

/// A batch of these contexts, all with one nameless document.
fn batch_of(drawn: &[Drawn]) -> TokenBatch {
    let mut batch = TokenBatch::new(BatchIndex::default(), 0);
    batch.documents.push(Document { name: "a sampled context".into(), ..Document::default() });
    for d in drawn {
        batch.push(d.ids.clone(), &d.counted, &[(0, 0)]);
    }
    batch
}
