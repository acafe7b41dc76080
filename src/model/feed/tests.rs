//! What is taken of an answer, and what is refused.

use super::answer::{activations, check, latents, most_bytes};
use super::{Asked, Holds};
use crate::corpus::{Document, TokenBatch};
use arrow::array::{
    Array, ArrayRef, FixedSizeListArray, Float32Array, Float32Builder, ListBuilder, RecordBatch, UInt32Array,
    UInt32Builder, UInt64Array,
};
use arrow::datatypes::{Field, Schema};
use std::sync::Arc;

/// Two contexts, each with a BOS that does not count.
fn batch() -> TokenBatch {
    let mut batch = TokenBatch::new(7, 100);
    batch.documents.push(Document { name: "doc".into(), ..Document::default() });
    batch.push(vec![0, 11, 12], &[false, true, true], &[(0, 0)]);
    batch.push(vec![0, 13], &[false, true], &[(0, 0)]);
    batch
}

fn of(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> =
        columns.iter().map(|(name, c)| Field::new(*name, c.data_type().clone(), c.null_count() > 0)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, c)| c).collect()).unwrap()
}

fn whose() -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("batch", Arc::new(UInt64Array::from(vec![7; 5]))),
        ("id", Arc::new(UInt32Array::from(vec![0, 11, 12, 0, 13]))),
    ]
}

fn sparse(rows: &[&[(u32, f32)]]) -> RecordBatch {
    let (mut index, mut value) = (ListBuilder::new(UInt32Builder::new()), ListBuilder::new(Float32Builder::new()));
    for row in rows {
        for (latent, held) in *row {
            index.values().append_value(*latent);
            value.values().append_value(*held);
        }
        index.append(true);
        value.append(true);
    }
    let columns: [(&str, ArrayRef); 2] = [("p.index", Arc::new(index.finish())), ("p.value", Arc::new(value.finish()))];
    of(whose().into_iter().chain(columns).collect())
}

#[test]
fn rows_of_tokens_that_do_not_count_are_left_out() {
    let batch = batch();
    let values: Vec<f32> = (0..10).map(|v| v as f32).collect();
    let field = Arc::new(Field::new_list_field(arrow::datatypes::DataType::Float32, false));
    let list = FixedSizeListArray::new(field, 2, Arc::new(Float32Array::from(values)), None);
    let answer = of(whose().into_iter().chain([("resid_post.0", Arc::new(list) as ArrayRef)]).collect());
    let asked = Asked {
        name: "resid_post.0".into(),
        holds: Holds::Activations { hookpoint: "resid_post.0".parse().unwrap(), width: 2 },
    };
    check(&answer, &[asked], &batch, &batch.views[0]).unwrap();
    let x = activations(&answer, ("resid_post.0", 2), &batch, &batch.views[0]).unwrap();
    assert_eq!(x.as_slice(), [2.0, 3.0, 4.0, 5.0, 8.0, 9.0]);
    assert!(activations(&answer, ("resid_post.0", 3), &batch, &batch.views[0]).is_err());
}

#[test]
fn latents_come_in_order_without_zeros() {
    let batch = batch();
    let answer = sparse(&[&[(9, 1.0)], &[(5, 2.0), (3, 1.0), (4, 0.0)], &[], &[(1, f32::NAN)], &[(0, -1.5)]]);
    let asked = Asked { name: "p".into(), holds: Holds::Latents { d_sae: 6, most: 2 } };
    check(&answer, &[asked], &batch, &batch.views[0]).unwrap();
    // latents of a token that does not count are ignored
    let rows = latents(&answer, "p", (6, 2), &batch, &batch.views[0]).unwrap();
    assert_eq!((rows.row_starts, rows.latents), (vec![0, 2, 2, 3], vec![3, 5, 0]));
    assert_eq!(rows.values, [1.0, 2.0, -1.5]);
}

#[test]
fn latents_that_cannot_be_are_named_with_their_place() {
    let batch = batch();
    let cases: [(&[(u32, f32)], &str); 4] = [
        (&[(6, 1.0)], "latent 6, expected 0 to 5"),
        (&[(2, 1.0), (2, 2.0)], "latent 2 twice"),
        (&[(2, f32::INFINITY)], "activation inf of latent 2 is not finite"),
        (&[(0, 1.0), (1, 1.0), (2, 1.0)], "3 latents fire, expected 2 at most"),
    ];
    for (row, words) in cases {
        let answer = sparse(&[&[], &[], row, &[], &[]]);
        let said = latents(&answer, "p", (6, 2), &batch, &batch.views[0]).unwrap_err().to_string();
        assert!(said.contains(words) && said.ends_with("document doc, context 0, position 2"), "{said}");
    }
}

#[test]
fn an_answer_may_be_as_long_as_all_that_is_asked_for() {
    let asked = [
        Asked { name: "a".into(), holds: Holds::Activations { hookpoint: "embed".parse().unwrap(), width: 768 } },
        Asked { name: "b".into(), holds: Holds::Latents { d_sae: 32_768, most: 64 } },
    ];
    assert!(most_bytes(&asked, 1000) > 1000 * (12 + 4 * 768 + 8 * 64));
    assert_eq!(most_bytes(&asked, u64::MAX), u64::MAX);
}
