//! Is an answer the answer to its request, and which values does it hold? A record batch in, activations and latents out.
//!
//! An answer has a row for each token of the request, BOS, EOS and padding included, in order: `batch` (u64) and `id` (u32) repeat the
//! request, so that answers in another order are noticed; then a column for each hookpoint, a fixed-size list of its width. Its values
//! are f32, f16, or bf16 as u16 with the metadata `dtype = "bf16"` of the column. Latents have two columns, `NAME.index` (list of u32) and
//! `NAME.value` (list of f32).

use super::asked::{Asked, INDEX, VALUE};
use crate::corpus::{TokenBatch, TokenView};
use crate::error::{Error, Result};
use crate::linalg::Matrix;
use crate::model::pool::buffer;
use crate::model::sparse::SparseRows;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float16Type, Float32Type, UInt16Type, UInt32Type, UInt64Type};
use rayon::prelude::*;
use std::collections::BTreeSet;

/// Bytes per token in addition to what was asked: its batch and id, with room for what Arrow puts between columns.
const TOKEN_BYTES: u64 = 16;
/// Bytes of an answer in addition to its tokens: schema, headers, padding.
const ANSWER_BYTES: u64 = 1 << 20;

/// Bytes of an answer of `n_tokens` at most.
pub(super) fn most_bytes(asked: &[Asked], n_tokens: u64) -> u64 {
    let of_token = TOKEN_BYTES + asked.iter().map(Asked::bytes_a_token).sum::<u64>();
    n_tokens.saturating_mul(of_token).saturating_add(ANSWER_BYTES)
}

/// Checks that `answer` belongs to `batch` and `view`, token by token, and has the columns that are asked for and no others.
///
/// # Errors
/// `Input`, naming what differs.
pub(super) fn check(answer: &RecordBatch, asked: &[Asked], batch: &TokenBatch, view: &TokenView) -> Result<()> {
    let of = format!("its feed's answer to batch {}", batch.index);
    let schema = answer.schema();
    let found: BTreeSet<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let names: Vec<String> = asked.iter().flat_map(Asked::columns).collect();
    let expected: BTreeSet<&str> = ["batch", "id"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let listed = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(", ");
    if found != expected || found.len() != schema.fields().len() {
        return Err(Error::input(format!(
            "{of} has the columns {}, expected {}, each once; answer what was asked for",
            listed(&found),
            listed(&expected)
        )));
    }
    if let Some(field) =
        schema.fields().iter().find(|f| answer.column_by_name(f.name()).is_some_and(|c| c.null_count() > 0))
    {
        return Err(Error::input(format!(
            "{of} has a null in column {}, expected a value for each token",
            field.name()
        )));
    }
    let n_tokens: usize = view.contexts.iter().map(|context| context.ids.len()).sum();
    if answer.num_rows() != n_tokens {
        return Err(Error::input(format!(
            "{of} has {} rows, the batch has {n_tokens} tokens; answer with one row for each token, those that do not count (BOS) included",
            answer.num_rows()
        )));
    }
    let typed = |name: &str, wanted: DataType| {
        let column = answer.column_by_name(name).filter(|c| *c.data_type() == wanted);
        column.ok_or_else(|| Error::input(format!("{of}: column {name} is no {wanted}")))
    };
    let batches = typed("batch", DataType::UInt64)?.as_primitive::<UInt64Type>();
    if let Some(other) = batches.values().iter().find(|b| **b != batch.index) {
        return Err(Error::input(format!(
            "{of} is of batch {other}; a feed must answer requests one by one, in the order in which they come"
        )));
    }
    let ids = typed("id", DataType::UInt32)?.as_primitive::<UInt32Type>();
    let sent = view.contexts.iter().flat_map(|context| &context.ids);
    if let Some((row, (asked, answered))) = sent.zip(ids.values()).enumerate().find(|(_, (a, b))| a != b) {
        return Err(Error::input(format!(
            "{of}: row {row} is of token {answered}, asked was token {asked}; answer one row for each token, in the order of the request"
        )));
    }
    Ok(())
}

/// What a checked answer holds at one hookpoint, for each token that belongs to a row: `[n_tokens, width]`.
///
/// # Errors
/// `Input` for another type or width, and for a value that is not finite.
pub(super) fn activations(
    answer: &RecordBatch,
    (name, width): (&str, usize),
    batch: &TokenBatch,
    view: &TokenView,
) -> Result<Matrix<f32>> {
    let of = format!("its feed's answer to batch {}, column {name}", batch.index);
    let column = answer.column_by_name(name).expect("the columns are checked");
    let schema = answer.schema();
    let field = schema.field_with_name(name).expect("the columns are checked");
    let list = column.as_fixed_size_list_opt().ok_or_else(|| {
        Error::input(format!("{of} is {}, expected a fixed-size list of {width} numbers", column.data_type()))
    })?;
    if list.value_length() as usize != width {
        return Err(Error::input(format!(
            "{of} is {} wide, expected {width}; check the hookpoint that is answered, or the model's sizes in the dataflow file",
            list.value_length()
        )));
    }
    let values = list.values();
    if values.null_count() > 0 || values.len() != answer.num_rows() * width {
        return Err(Error::input(format!("{of} has a null among its values, expected a number for each")));
    }
    let kept = counted(view);
    let is_bf16 = field.metadata().get("dtype").is_some_and(|dtype| dtype == "bf16");
    let mut out = buffer(kept.len() * width);
    let bad = match values.data_type() {
        DataType::Float32 => rows(values.as_primitive::<Float32Type>().values(), width, &kept, &mut out, |v| v),
        DataType::Float16 => {
            rows(values.as_primitive::<Float16Type>().values(), width, &kept, &mut out, |v| v.to_f32())
        }
        DataType::UInt16 if is_bf16 => {
            rows(values.as_primitive::<UInt16Type>().values(), width, &kept, &mut out, |v| {
                f32::from_bits(u32::from(v) << 16)
            })
        }
        other => {
            return Err(Error::input(format!(
                "{of} holds {other}, expected f32, f16, or u16 with the metadata dtype = \"bf16\" of the column"
            )));
        }
    };
    if let Some(token) = bad {
        let (row, context, position) = view.tokens().nth(token).expect("a row of the matrix is a token");
        let x = &out[token * width..(token + 1) * width];
        let at = x.iter().position(|v| !v.is_finite()).expect("the row was found to hold one");
        return Err(Error::input(format!(
            "{of}: activation {} of feature {at} is not finite, document {}, context {context}, position {position}",
            x[at],
            batch.document_of(row).name
        )));
    }
    Ok(Matrix::from_vec(kept.len(), width, out))
}

/// Rows `kept` of `values`, widened; gives back the first of them, by its place in `out`, that holds a value which is not finite.
fn rows<T: Copy + Sync>(
    values: &[T],
    width: usize,
    kept: &[usize],
    out: &mut [f32],
    widen: impl Fn(T) -> f32 + Sync,
) -> Option<usize> {
    let copied = out.par_chunks_exact_mut(width.max(1)).zip(kept).enumerate().filter_map(|(token, (out, &row))| {
        let mut finite = true;
        for (out, &value) in out.iter_mut().zip(&values[row * width..(row + 1) * width]) {
            *out = widen(value);
            finite &= out.is_finite();
        }
        (!finite).then_some(token)
    });
    copied.min()
}

/// What a checked answer holds of the latents of a place, for each token that belongs to a row; entries of value 0 are left out, and
/// latents of a token put in order.
///
/// # Errors
/// `Input` for other types, a latent that is not below `d_sae` or is there twice, more than `most` on a token, and a value that is not
/// finite.
pub(super) fn latents(
    answer: &RecordBatch,
    name: &str,
    (d_sae, most): (usize, usize),
    batch: &TokenBatch,
    view: &TokenView,
) -> Result<SparseRows> {
    let of = format!("its feed's answer to batch {}, {name}", batch.index);
    let list = |end: &str, wanted: DataType| {
        let column = answer.column_by_name(&format!("{name}{end}")).expect("the columns are checked");
        let list = column.as_list_opt::<i32>().filter(|list| *list.values().data_type() == wanted);
        let list = list.filter(|list| list.values().null_count() == 0);
        list.ok_or_else(|| {
            Error::input(format!(
                "{of}: column {name}{end} is {}, expected a list of {wanted} without nulls",
                column.data_type()
            ))
        })
    };
    let (indices, values) = (list(INDEX, DataType::UInt32)?, list(VALUE, DataType::Float32)?);
    let (starts, others) = (indices.value_offsets(), values.value_offsets());
    let (indices, values) = (
        indices.values().as_primitive::<UInt32Type>().values(),
        values.values().as_primitive::<Float32Type>().values(),
    );
    let mut out = SparseRows::default();
    let mut entries: Vec<(u32, f32)> = Vec::new();
    for (token, row) in counted(view).into_iter().enumerate() {
        let span = |starts: &[i32]| starts[row] as usize..starts[row + 1] as usize;
        let (latents, held) = (&indices[span(starts)], &values[span(others)]);
        let wrong = |what: String| {
            let (row, context, position) = view.tokens().nth(token).expect("a token that counts");
            let document = &batch.document_of(row).name;
            Err(Error::input(format!("{of}: {what}, document {document}, context {context}, position {position}")))
        };
        if latents.len() != held.len() {
            return wrong(format!("{} latents and {} values, expected as many", latents.len(), held.len()));
        }
        entries.clear();
        entries.extend(latents.iter().copied().zip(held.iter().copied()));
        if let Err(what) = out.push(&mut entries, (d_sae, most)) {
            return wrong(what);
        }
    }
    Ok(out)
}

/// Rows of an answer whose tokens belong to a row of the batch.
fn counted(view: &TokenView) -> Vec<usize> {
    let counted = view.contexts.iter().flat_map(|context| context.row_of.iter().map(Option::is_some));
    counted.enumerate().filter_map(|(row, counted)| counted.then_some(row)).collect()
}
