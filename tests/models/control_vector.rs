//! A control vector does in our own forward what transformers does with it in llama.cpp's loop (benches/peers/control_vector.py).
//!
//! The bias of a block's MLP output is added on every position at the end of the block, so a model whose bias has the vector added is the model that
//! is steered: no other path through the forward is needed.

use super::own;
use crate::common::fixture;
use cognate::ids::Hookpoint;
use cognate::model;
use cognate::weights::control_vector;
use cognate::weights::gguf::GgufFile;
use safetensors::tensor::SafeTensors;
use std::path::Path;

/// Adds `vector` to tensor `name` of the folder's weights.
fn add(folder: &Path, name: &str, vector: &[f32]) {
    let path = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = {
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let data = tensors.tensor(name).unwrap().data().as_ptr_range();
        assert_eq!(data.end as usize - data.start as usize, 4 * vector.len(), "{name}");
        data.start as usize - bytes.as_ptr() as usize
    };
    for (cell, v) in bytes[at..].chunks_exact_mut(4).zip(vector) {
        let sum = f32::from_le_bytes(cell.try_into().unwrap()) + v;
        cell.copy_from_slice(&sum.to_le_bytes());
    }
    std::fs::write(&path, bytes).unwrap();
}

#[test]
fn a_control_vector_is_added_behind_the_block_that_its_name_says() {
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixture("control_vector.json")).unwrap()).unwrap();
    let biases = [("gpt2", "h.{}.mlp.c_proj.bias"), ("neox_parallel", "gpt_neox.layers.{}.mlp.dense_4h_to_h.bias")];
    for (name, bias) in biases {
        let of = &expected[name];
        let ids: Vec<u32> = serde_json::from_value(of["ids"].clone()).unwrap();
        let vector: Vec<f32> = serde_json::from_value(of["vector"].clone()).unwrap();
        let cases = of["cases"].as_array().unwrap();
        let last = [Hookpoint::ResidPost(cases.len())];
        let plain = model::open(&own(name)).unwrap().activations(&ids, &last).unwrap();
        for case in cases {
            let folder = tempfile::tempdir().unwrap();
            for file in ["config.json", "model.safetensors"] {
                std::fs::copy(own(name).join(file), folder.path().join(file)).unwrap();
            }
            // the file as it is exported, read back: which block, and what is added there
            let layer = case["direction"].as_u64().unwrap() as usize;
            let path = folder.path().join("vector.gguf");
            std::fs::write(&path, control_vector(name, layer, &vector)).unwrap();
            let file = GgufFile::open(&path).unwrap();
            let (tensor, place) = file.tensors.iter().next().unwrap();
            let mut read = vec![0.0; place.shape[0]];
            file.read(place, 0, &mut read);
            let block = tensor.strip_prefix("direction.").unwrap();
            add(folder.path(), &bias.replace("{}", block), &read);
            let found = model::open(folder.path()).unwrap().activations(&ids, &last).unwrap();
            let right: Vec<Vec<f64>> = serde_json::from_value(case["last"].clone()).unwrap();
            let (mut off, mut moved, mut squares) = (0.0f64, 0.0f64, 0.0);
            for (r, row) in right.iter().enumerate() {
                for (j, &right) in row.iter().enumerate() {
                    off = off.max((f64::from(found[0].row(r)[j]) - right).abs());
                    moved = moved.max((f64::from(plain[0].row(r)[j]) - right).abs());
                    squares += right * right;
                }
            }
            let rms = (squares / (right.len() * vector.len()) as f64).sqrt();
            assert!(off < 5e-5 * rms, "{name} {tensor}: off by {off:.2e}, root mean square {rms:.2e}");
            assert!(moved > 0.1 * rms, "{name} {tensor}: the vector does something: {moved:.2e}");
        }
    }
}
