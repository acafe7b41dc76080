//! What does one model hold at given tokens? `cognate activations`: ids in, activations out, no corpus and no run.
//!
//! The tokens are a safetensors file: every integer tensor named `input_ids` or `NAME.input_ids`, `[len]` or
//! `[n_seq, len]`, is one set of contexts, positions from 0; other tensors are ignored. For each of them the output
//! holds `<hookpoint>` or `NAME.<hookpoint>`, `[len, width]` or `[n_seq, len, width]` f32, special tokens included; the
//! hookpoint in its plain form, however it was asked for.

use crate::cli::encode::check_apart;
use crate::device::Compute;
use crate::disk;
use crate::error::{Error, Result};
use crate::ids::{HookName, Hookpoint};
use crate::model::{self, Model, OneContext};
use crate::store::write_atomic;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;
use std::path::Path;

/// One set of contexts.
struct Tokens {
    /// `NAME.` or nothing.
    prefix: String,
    /// `[len]` or `[n_seq, len]`.
    shape: Vec<usize>,
    ids: Vec<u32>,
}

/// Runs the model at `model` over every context in `tokens` and writes `out`: a temporary file, then renamed.
///
/// # Errors
/// `Request` for a missing file, an unknown architecture, a hookpoint the model has not got or a tokens file without ids;
/// `Input` for damaged files, ids outside the vocabulary and activations that are not finite; `Machine` when `out` cannot
/// be written.
pub fn activations(model: &Path, compute: Compute, tokens: &Path, hookpoints: &[HookName], out: &Path) -> Result<()> {
    if hookpoints.is_empty() {
        return Err(Error::request("no hookpoint was named; name at least one, for example resid_post.0"));
    }
    check_apart(tokens, out)?;
    let shape = model::header(model)?;
    let mut wanted: Vec<Hookpoint> = Vec::new();
    for name in hookpoints {
        let place = shape.place(name).map_err(|e| e.within(format!("model {}", model.display())))?;
        if !wanted.contains(&place) {
            wanted.push(place);
        }
    }
    let sets = read_tokens(tokens)?;
    let model = model::open_for(model, None, compute, &wanted)?;
    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
    for set in sets {
        let read = run(model.as_ref(), &set, &wanted)
            .map_err(|e| e.within(format!("tokens {}, {}input_ids", tokens.display(), set.prefix)))?;
        for (hookpoint, values) in wanted.iter().zip(read) {
            let mut shape = set.shape.clone();
            shape.push(model.shape().width(*hookpoint)?);
            tensors.insert(format!("{}{hookpoint}", set.prefix), (shape, values));
        }
    }
    write(out, &tensors)
}

fn read_tokens(path: &Path) -> Result<Vec<Tokens>> {
    let bytes = disk::read(path).map_err(|e| Error::io("read the tokens", path, &e))?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|e| Error::input(format!("tokens {}: {e}; expected a safetensors file", path.display())))?;
    let mut sets = Vec::new();
    for (name, view) in file.iter() {
        let Some(prefix) = name.strip_suffix("input_ids").filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
        else {
            continue;
        };
        if !(1..=2).contains(&view.shape().len()) {
            return Err(Error::input(format!(
                "tokens {}: tensor {name:?} is {:?}; expected [len] or [n_seq, len]",
                path.display(),
                view.shape()
            )));
        }
        let ids = ids(&view).map_err(|e| e.within(format!("tokens {}: tensor {name:?}", path.display())))?;
        sets.push(Tokens { prefix: prefix.to_string(), shape: view.shape().to_vec(), ids });
    }
    if sets.is_empty() {
        return Err(Error::request(format!(
            "tokens {}: no tensor is named input_ids or NAME.input_ids; check the file",
            path.display()
        )));
    }
    sets.sort_by(|a, b| a.prefix.cmp(&b.prefix));
    Ok(sets)
}

fn ids(view: &TensorView) -> Result<Vec<u32>> {
    fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> i128) -> Result<Vec<u32>> {
        let id = |b: &[u8; N]| {
            let value = value(*b);
            u32::try_from(value).map_err(|_| Error::input(format!("{value} is no token id")))
        };
        bytes.as_chunks::<N>().0.iter().map(id).collect()
    }
    let bytes = view.data();
    match view.dtype() {
        Dtype::U8 => each(bytes, |b| u8::from_le_bytes(b).into()),
        Dtype::I8 => each(bytes, |b| i8::from_le_bytes(b).into()),
        Dtype::U16 => each(bytes, |b| u16::from_le_bytes(b).into()),
        Dtype::I16 => each(bytes, |b| i16::from_le_bytes(b).into()),
        Dtype::U32 => each(bytes, |b| u32::from_le_bytes(b).into()),
        Dtype::I32 => each(bytes, |b| i32::from_le_bytes(b).into()),
        Dtype::U64 => each(bytes, |b| u64::from_le_bytes(b).into()),
        Dtype::I64 => each(bytes, |b| i64::from_le_bytes(b).into()),
        other => Err(Error::input(format!("is {other:?}; expected an integer type"))),
    }
}

/// Every context of the set, `[n_seq * len, width]` for each hookpoint.
fn run(model: &dyn Model, set: &Tokens, hookpoints: &[Hookpoint]) -> Result<Vec<Vec<f32>>> {
    let length = set.shape.last().copied().unwrap_or(0);
    let widths = hookpoints.iter().map(|&h| model.shape().width(h)).collect::<Result<Vec<usize>>>()?;
    let mut out: Vec<Vec<f32>> = widths.iter().map(|width| vec![0.0; set.ids.len() * width]).collect();
    let counted = vec![true; length];
    let one = |ids| OneContext::new(ids, &counted, widths.len(), &[]);
    let mut contexts: Vec<OneContext> = set.ids.chunks_exact(length.max(1)).map(one).collect();
    for (values, width) in out.iter_mut().zip(&widths) {
        let places = values.chunks_exact_mut((length * width).max(1));
        contexts.iter_mut().zip(places).for_each(|(context, place)| context.out.push(place));
    }
    for (c, result) in model.write_contexts(hookpoints, &mut contexts).into_iter().enumerate() {
        result?;
        for ((hookpoint, width), values) in hookpoints.iter().zip(&widths).zip(&contexts[c].out) {
            if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                return Err(Error::input(format!(
                    "activation {} at {hookpoint}, sequence {c}, position {} is not finite; the weights are damaged or overflow",
                    values[at],
                    at / width.max(&1)
                )));
            }
        }
    }
    Ok(out)
}

fn write(out: &Path, tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Result<()> {
    let mut views = Vec::with_capacity(tensors.len());
    let bytes: Vec<Vec<u8>> =
        tensors.values().map(|(_, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    for ((name, (shape, _)), bytes) in tensors.iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes)
            .map_err(|e| Error::machine(format!("lay out tensor {name:?} {shape:?}: {e}")))?;
        views.push((name.as_str(), view));
    }
    let whole = safetensors::serialize(views, None)
        .map_err(|e| Error::machine(format!("lay out activations {}: {e}", out.display())))?;
    if out.file_name().is_none() {
        return Err(Error::request(format!("output {} is not a file name", out.display())));
    }
    write_atomic(out, &whole).map(drop)
}
