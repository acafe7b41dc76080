//! Models in bf16: how near they are to the answers in f32 and to transformers in bfloat16, and what stays as it is in f32.

use super::*;
use crate::common::in_bf16;

fn halves() -> Compute {
    Compute { dtype: Numbers::Bf16, ..Compute::default() }
}

/// Every tensor of a safetensors file of f32 or bf16, ids left out.
fn tensors(path: &Path) -> BTreeMap<String, Vec<f64>> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |view: &TensorView| match view.dtype() {
        Dtype::BF16 => {
            let halves = view.data().chunks_exact(2).map(|b| u32::from(u16::from_le_bytes(b.try_into().unwrap())));
            halves.map(|half| f64::from(f32::from_bits(half << 16))).collect()
        }
        _ => floats(view),
    };
    let all = file.tensors().into_iter().filter(|(name, _)| !name.ends_with("input_ids"));
    all.map(|(name, view)| (name, values(&view))).collect()
}

/// What a model in bf16 holds at the places of a reference, by the names there.
fn ours(model: &Path, reference: &Path, folder: &Path) -> BTreeMap<String, Vec<f64>> {
    let wanted: Vec<String> = tensors(reference).into_keys().collect();
    let mut hookpoints: Vec<Hookpoint> = wanted.iter().filter_map(|name| hookpoint_of(name).map(|(_, h)| h)).collect();
    hookpoints.sort();
    hookpoints.dedup();
    let out = folder.join("out.safetensors");
    activations(model, halves(), reference, &names(&hookpoints), &out).unwrap();
    let found = tensors(&out);
    let there = |name: String| {
        let (sequence, hookpoint) = hookpoint_of(&name)?;
        let values = found[&format!("{sequence}.{hookpoint}")].clone();
        Some((name, values))
    };
    wanted.into_iter().filter_map(there).collect()
}

/// The largest difference of a tensor, and its root mean square, both over the root mean square of `exact`.
fn off(found: &[f64], exact: &[f64]) -> (f64, f64) {
    assert_eq!(found.len(), exact.len());
    let mean = |values: &mut dyn Iterator<Item = f64>| (values.map(|v| v * v).sum::<f64>() / exact.len() as f64).sqrt();
    let size = mean(&mut exact.iter().copied());
    let largest = found.iter().zip(exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    (largest / size, mean(&mut found.iter().zip(exact).map(|(a, b)| a - b)) / size)
}

/// Rounding to 8 bits takes 2⁻⁹ of a number at most, of weights and of rows alike, so a product is off by some 2⁻⁸ / √3 · √2 ≈ 0.3 % of
/// its size. Two to four blocks add that up, and these models are drawn so that every option matters: a sharp softmax makes more of it.
#[test]
fn every_family_is_near_to_what_it_is_in_f32() {
    if !in_bf16("in_bf16::every_family_is_near_to_what_it_is_in_f32") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let families = FAMILIES.iter().map(|(name, _)| *name).chain(OWN.iter().copied());
    for name in families {
        let (model, reference) = (own(name), own(name).join("reference.safetensors"));
        let exact = tensors(&reference);
        let (mut worst, mut mean) = ((0.0, String::new()), 0.0f64);
        for (name, found) in ours(&model, &reference, folder.path()) {
            let (largest, by_mean) = off(&found, &exact[&name]);
            // a table's rows are as they are
            assert!(!name.ends_with(".embed") || name.contains("layer") || largest < 5e-5, "{name}: {largest:.1e}");
            mean = mean.max(by_mean);
            worst = if largest > worst.0 { (largest, name) } else { worst };
        }
        println!("{name}: off by {:.1e} at most ({}), {mean:.1e} in root mean square", worst.0, worst.1);
        assert!(mean > 1e-4, "{name}: nothing was rounded");
        assert!(
            worst.0 < MOST && mean < MEAN,
            "{name}: off by {:.1e} at {}, {mean:.1e} in root mean square",
            worst.0,
            worst.1
        );
    }
}

/// Measured: 1.7e-1 and 2.0e-2 in gpt_neo, which does not scale its scores; 1.3e-1 and 1.8e-2 in the others.
const MOST: f64 = 3e-1;
const MEAN: f64 = 3e-2;

/// transformers rounds everything between operations, the residual stream too. So this program is nearer to f32, and as far from
/// transformers as that is from f32.
#[test]
fn a_model_in_bf16_is_nearer_to_f32_than_transformers_in_bfloat16() {
    if !in_bf16("in_bf16::a_model_in_bf16_is_nearer_to_f32_than_transformers_in_bfloat16") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["llama", "gemma3_text_config", "olmo2", "starcoder2", "gptj", "falcon_new"] {
        let model = own(name);
        let [exact, theirs] =
            ["reference", "reference_bf16"].map(|file| tensors(&model.join(format!("{file}.safetensors"))));
        let ours = ours(&model, &model.join("reference.safetensors"), folder.path());
        assert!(exact.len() > 10 && theirs.len() == exact.len() && ours.len() == exact.len(), "{name}");
        let mut squares = [0.0; 3];
        for (name, exact) in &exact {
            let offs =
                [(&ours[name], exact), (&theirs[name], exact), (&ours[name], &theirs[name])].map(|(a, b)| off(a, b).1);
            squares.iter_mut().zip(offs).for_each(|(sum, off)| *sum += off * off);
        }
        let [own, its, between] = squares.map(|sum| (sum / exact.len() as f64).sqrt());
        println!("{name}: {own:.1e} off f32, transformers {its:.1e}, {between:.1e} between");
        assert!(own < its, "{name}: {own:.1e}, transformers {its:.1e}");
        // measured: 0.9 to 1.2 times
        assert!(between < 1.5 * its, "{name}: {between:.1e}, transformers {its:.1e} off f32");
    }
}

#[test]
fn bits_in_bf16_depend_on_the_context_alone() {
    if !in_bf16("in_bf16::bits_in_bf16_depend_on_the_context_alone") {
        return;
    }
    let model = model::open_on(&demo("small-a"), halves()).unwrap();
    let contexts = some_contexts();
    let read = || forward(model.as_ref(), &batch(&contexts), &HOOKPOINTS).unwrap();
    let whole = read();
    for (h, part) in whole.iter().enumerate() {
        let mut alone = Vec::new();
        for context in &contexts {
            let one = forward(model.as_ref(), &batch(std::slice::from_ref(context)), &HOOKPOINTS[h..=h]).unwrap();
            alone.extend(bits(one[0].x.as_slice()));
        }
        assert!(bits(part.x.as_slice()) == alone, "{}", part.hookpoint);
    }
    for n_threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        for (a, b) in whole.iter().zip(pool.install(read)) {
            assert!(bits(a.x.as_slice()) == bits(b.x.as_slice()), "{}, {n_threads} threads", a.hookpoint);
        }
    }
    // embeddings and the residual stream are f32, and so is a model that asks for nothing
    let wide = forward(model::open(&demo("small-a")).unwrap().as_ref(), &batch(&contexts), &HOOKPOINTS).unwrap();
    for (a, b) in whole.iter().zip(&wide) {
        assert_eq!(a.x == b.x, a.hookpoint == Hookpoint::Embed, "{}", a.hookpoint);
    }
}

#[test]
fn bf16_is_refused_where_the_processor_has_no_instruction_for_it() {
    if cognate::linalg::bf16::Way::of_this_machine().is_some() {
        return;
    }
    let error = model::open_on(&demo("small-a"), halves()).map(drop).unwrap_err();
    let said = error.to_string();
    assert!(error.kind() == ErrorKind::Request && said.contains("no instruction that multiplies bf16"), "{said}");
    assert!(said.contains("write dtype = \"f32\""), "{said}");
}

#[test]
fn weights_in_bf16_take_half() {
    let shape = model::header(&demo("small-b")).unwrap();
    let [whole, half] = [Compute::default(), halves()].map(|compute| model::weight_bytes(&shape, compute, 6).here);
    assert_eq!(half, whole / 2);
}
