//! SAEs in bf16 beside the same in f32, over every fixture.

use super::*;
use crate::common::in_bf16;

/// Rounding rows and encoder to 8 bits moves a pre-activation by some 0.3 % of the size that its terms have together. A latent near the
/// edge of its selection then falls on the other side: these SAEs are random, and have many such.
#[test]
fn latents_in_bf16_are_near_to_those_in_f32() {
    if !in_bf16("in_bf16::latents_in_bf16_are_near_to_those_in_f32") {
        return;
    }
    let index: Vec<serde_json::Value> =
        serde_json::from_slice(&std::fs::read(fixture("saes/index.json")).unwrap()).unwrap();
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("z.safetensors");
    let mut n = 0;
    for path in index.iter().map(|entry| entry["path"].as_str().unwrap()) {
        let folder = fixture(path);
        let latents = |dtype| {
            let compute = Compute { dtype, ..Compute::default() };
            encode(&folder, &folder.join("reference.safetensors"), Some("x"), &out, false, None, compute).unwrap();
            tensor(&out, "latents").unwrap().1
        };
        let (whole, half) = (latents(Numbers::F32), latents(Numbers::Bf16));
        let (mut size, mut off, mut fires, mut same) = (0.0, 0.0, 0, 0);
        for (a, b) in whole.iter().zip(&half).map(|(a, b)| (f64::from(*a), f64::from(*b))) {
            fires += usize::from(a != 0.0 || b != 0.0);
            if a != 0.0 && b != 0.0 {
                same += 1;
                size += a * a;
                off += (a - b) * (a - b);
            }
        }
        let (off, same) = ((off / size).sqrt(), f64::from(same) / fires as f64);
        println!("{path}: off by {off:.1e} where both fire, {:.1} % of firings", 100.0 * same);
        assert!(whole.len() == half.len() && whole != half, "{path}: nothing was rounded");
        assert!(off < 1e-2 && same > 0.95, "{path}: off by {off:.1e}, {same:.3} of firings the same");
        n += 1;
    }
    assert!(n > 10, "{n}");
}

#[test]
fn an_sae_in_bf16_is_refused_where_the_processor_has_no_instruction_for_it() {
    if cognate::linalg::bf16::Way::of_this_machine().is_some() {
        return;
    }
    let (folder, out) = (fixture("saes/sparsify/topk_bf16_stored/layers.1"), tempfile::tempdir().unwrap());
    let out = out.path().join("z.safetensors");
    let compute = Compute { dtype: Numbers::Bf16, ..Compute::default() };
    let reference = folder.join("reference.safetensors");
    let error = encode(&folder, &reference, Some("x"), &out, false, None, compute).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("no instruction that multiplies bf16") && said.contains("write dtype = \"f32\""), "{said}");
    assert!(!out.exists());
}
