//! Every family against the hidden states of the Python libraries, and what every model promises: errors that name
//! what is wrong, bits that depend on the context alone.

use cognate::cli::activations::activations;
use cognate::corpus::{Document, TokenBatch};
use cognate::device::{BackendName, Compute, DeviceName, Dtype as Numbers, Takes};
use cognate::error::{ErrorKind, Result};
use cognate::ids::{HookName, Hookpoint};
use cognate::linalg::Matrix;
use cognate::model::{self, ActivationBatch};
use common::fixture;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

mod common;
#[path = "models/config_keys.rs"]
mod config_keys;
#[path = "models/control_vector.rs"]
mod control_vector;
#[path = "models/gguf_settings.rs"]
mod gguf_settings;
#[path = "models/in_bf16.rs"]
mod in_bf16;

fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/demo/models").join(name)
}

/// Folders of `tests/fixtures/models` and how far a tensor may be off, relative to its root mean square (the fixtures' README;
/// gpt_neo does not scale its scores, so its softmax is sharp).
const FAMILIES: &[(&str, f64)] = &[
    ("neox_parallel", 5e-5),
    ("neox_sequential", 5e-5),
    ("neox_nobias", 5e-5),
    ("pythia_bf16", 5e-5),
    ("pythia_f16", 5e-5),
    ("gpt2", 5e-5),
    ("gpt2_plain", 5e-5),
    ("gpt_neo", 2e-4),
    ("opt", 5e-5),
    ("llama_gqa", 5e-5),
    ("llama_linear_rope", 5e-5),
    ("llama_sharded", 5e-5),
    ("llama3_tied_scaled", 5e-5),
    ("mistral_swa", 5e-5),
    ("qwen2", 5e-5),
    ("qwen3", 5e-5),
    ("gemma", 5e-5),
    ("gemma2", 5e-5),
    ("gemma3", 5e-5),
    ("phi", 5e-5),
];

/// Folders of `tests/fixtures/models` made by benches/peers/families.py.
const OWN: &[&str] = &[
    "llama",
    "gemma3_text_config",
    "phi3",
    "phi3_partial",
    "phi3_longrope",
    "olmo2",
    "olmo2_bias",
    "smollm3",
    "smollm3_window",
    "starcoder2",
    "starcoder2_nobias",
    "gptj",
    "gptj_inner",
    "falcon_multi_query",
    "falcon_new",
    "falcon_one_norm",
    "falcon_sequential",
];

fn own(name: &str) -> PathBuf {
    fixture("models").join(name)
}

fn floats(view: &TensorView) -> Vec<f64> {
    assert_eq!(view.dtype(), Dtype::F32);
    view.data().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
}

/// `seqJ.layerL.name` of the references in our words.
fn hookpoint_of(reference: &str) -> Option<(&str, Hookpoint)> {
    let (sequence, rest) = reference.split_once('.')?;
    let hookpoint = match rest.strip_prefix("layer") {
        Some(rest) => {
            let (layer, name) = rest.split_once('.')?;
            format!("{name}.{layer}")
        }
        None => rest.to_string(),
    };
    Some((sequence, hookpoint.parse().ok()?))
}

fn names(hookpoints: &[Hookpoint]) -> Vec<HookName> {
    hookpoints.iter().map(|&h| h.into()).collect()
}

fn candle() -> Compute {
    Compute { backend: BackendName::Candle, ..Compute::default() }
}

/// By this program's kernels and by the tensor library; the larger difference is given back.
fn compare(model: &Path, reference: &Path, limit: f64, folder: &Path) -> f64 {
    let of = |compute| compare_on(compute, model, reference, limit, folder);
    of(Compute::default()).max(of(candle()))
}

fn compare_on(compute: Compute, model: &Path, reference: &Path, limit: f64, folder: &Path) -> f64 {
    let bytes = std::fs::read(reference).unwrap();
    let wanted = SafeTensors::deserialize(&bytes).unwrap();
    let mut hookpoints: Vec<Hookpoint> =
        wanted.names().iter().filter_map(|name| hookpoint_of(name).map(|(_, h)| h)).collect();
    hookpoints.sort();
    hookpoints.dedup();
    assert!(hookpoints.len() > 5, "{}", reference.display());
    let out = folder.join("out.safetensors");
    activations(model, compute, reference, &names(&hookpoints), &out).unwrap();
    let bytes = std::fs::read(&out).unwrap();
    let found = SafeTensors::deserialize(&bytes).unwrap();
    let mut worst: f64 = 0.0;
    let mut compared = 0;
    for name in wanted.names() {
        let Some((sequence, hookpoint)) = hookpoint_of(name) else { continue };
        let (want, got) = (wanted.tensor(name).unwrap(), found.tensor(&format!("{sequence}.{hookpoint}")).unwrap());
        assert_eq!(want.shape(), got.shape(), "{name}");
        let (want, got) = (floats(&want), floats(&got));
        let rms = (want.iter().map(|v| v * v).sum::<f64>() / want.len() as f64).sqrt();
        let off = want.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / rms;
        assert!(
            off <= limit,
            "{} {name}, {compute:?}: off by {off:.2e} of its RMS, limit {limit:.0e}",
            model.display()
        );
        worst = worst.max(off);
        compared += 1;
    }
    assert_eq!(compared, found.len(), "every tensor of the output has its reference");
    worst
}

#[test]
fn every_hookpoint_of_every_family_is_as_the_python_libraries_have_it() {
    let folder = tempfile::tempdir().unwrap();
    for (name, limit) in FAMILIES {
        let model = own(name);
        let worst = compare(&model, &model.join("reference.safetensors"), *limit, folder.path());
        println!("{name}: {worst:.1e}");
    }
}

#[test]
fn every_hookpoint_of_the_project_s_own_models_is_as_transformers_has_it() {
    let folder = tempfile::tempdir().unwrap();
    for name in OWN {
        let model = own(name);
        let worst = compare(&model, &model.join("reference.safetensors"), 5e-5, folder.path());
        println!("{name}: {worst:.1e}");
        let copy = with_other_config(&model, folder.path());
        compare(&copy, &model.join("reference.safetensors"), 5e-5, folder.path());
    }
}

/// Contexts of many lengths together: what is behind the end of a shorter one changes nothing, wherever rows are read.
#[test]
fn contexts_that_run_together_hold_what_each_holds_alone() {
    for name in ["small-a", "small-b"] {
        let (ours, theirs) = (model::open(&demo(name)).unwrap(), model::open_on(&demo(name), candle()).unwrap());
        for batch in [batch(&some_contexts()), batch_of(&some_contexts(), |c, p| (c + p) % 3 == 0)] {
            let read = |model: &dyn model::Model| forward(model, &batch, &HOOKPOINTS).unwrap();
            for (a, b) in read(ours.as_ref()).iter().zip(read(theirs.as_ref())) {
                assert_eq!((a.hookpoint, a.x.n_rows()), (b.hookpoint, b.x.n_rows()));
                let rms = (a.x.as_slice().iter().map(|v| v * v).sum::<f32>() / a.x.as_slice().len() as f32).sqrt();
                let differences = a.x.as_slice().iter().zip(b.x.as_slice()).map(|(a, b)| (a - b).abs());
                let off = differences.fold(0.0, f32::max) / rms;
                assert!(off < 2e-5, "{name} {}: off by {off:.1e} of its RMS", a.hookpoint);
            }
        }
        // rows that stay on the device are those that came back
        let some = batch_of(&some_contexts(), |c, p| (c + p) % 3 == 0);
        let keep: Vec<bool> = (0..HOOKPOINTS.len()).map(|k| k % 2 == 0).collect();
        let kept = |model: &dyn model::Model| model::forward(model, &some, &some.views[0], &HOOKPOINTS, &keep).unwrap();
        assert!(kept(ours.as_ref()).iter().all(|read| read.there.is_none()), "the kernels have no device");
        for (read, keep) in kept(theirs.as_ref()).iter().zip(&keep) {
            assert_eq!(read.there.is_some(), *keep, "{}", read.hookpoint);
            let mut back = vec![0.0; read.x.as_slice().len()];
            read.there.iter().for_each(|rows| rows.read_into(&mut back).unwrap());
            assert!(!keep || bits(&back) == bits(read.x.as_slice()), "{}", read.hookpoint);
        }
        // the same batch once more, and on one thread: the same bits
        let batch = batch(&some_contexts());
        let read = || forward(theirs.as_ref(), &batch, &HOOKPOINTS).unwrap();
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        for (a, b) in read().iter().zip(one.install(read)) {
            assert!(bits(a.x.as_slice()) == bits(b.x.as_slice()), "{}", a.hookpoint);
        }
    }
}

/// f16 keeps 11 bits: what is lost grows with the blocks.
#[test]
fn f16_is_near_to_f32_and_what_cannot_be_had_is_refused() {
    let ids: Vec<u32> = (0..100).map(|p| p * 37 % 4096).collect();
    let hookpoints = [Hookpoint::Embed, Hookpoint::ResidPost(3)];
    let read = |compute| model::open_on(&demo("small-a"), compute).map(|model| model.activations(&ids, &hookpoints));
    let half = Compute { dtype: Numbers::F16, ..candle() };
    let (wide, half) = (read(Compute::default()).unwrap().unwrap(), read(half).unwrap().unwrap());
    for (k, (a, b)) in wide.iter().zip(&half).enumerate() {
        let (mut off, mut size) = (0.0, 0.0);
        for (a, b) in a.as_slice().iter().zip(b.as_slice()) {
            off += (a - b).powi(2);
            size += a.powi(2);
        }
        let share = (off / size).sqrt();
        // the weights are stored in f16, so what enters is exact
        assert!(share < [1e-9, 4e-3][k] && (k == 0 || share > 1e-5), "place {k}: {share:.1e}");
    }
    let device: DeviceName = "cuda:0".parse().unwrap();
    for (compute, words) in [
        (Compute { dtype: Numbers::Bf16, ..candle() }, "does not multiply on the CPU"),
        (Compute { dtype: Numbers::F16, ..Compute::default() }, "multiply f32 and bf16 only"),
        (Compute { device, ..Compute::default() }, "add backend = \"candle\""),
    ] {
        let error = read(compute).map(|_| ()).unwrap_err();
        assert!(error.kind() == ErrorKind::Request && error.to_string().contains(words), "{error}");
    }
    if !cognate::device::HAS_CUDA {
        let error = read(Compute { device, ..candle() }).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("built without CUDA"), "{error}");
    }
}

#[test]
fn torch_s_files_hold_what_safetensors_hold() {
    let hookpoints = [Hookpoint::Embed, Hookpoint::MlpOut(1), Hookpoint::FinalNorm];
    let read = |path: &Path| model::open(path).unwrap().activations(&[3, 9, 4, 11], &hookpoints).unwrap();
    let expected = read(&own("llama"));
    for kind in ["zip", "legacy", "sharded"] {
        let path = own("torch_files").join(kind);
        assert_eq!(read(&path), expected, "{kind}");
        assert_eq!(model::header(&path).unwrap(), model::header(&own("llama")).unwrap());
        let files = model::files(&path).unwrap();
        assert_eq!(files.len(), if kind == "sharded" { 4 } else { 2 }, "{files:?}");
    }
}

#[test]
fn gguf_files_give_what_the_python_libraries_give() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["llama_kquants", "llama_q8_q4", "qwen2_f16"] {
        let model = fixture(&format!("gguf/{name}.gguf"));
        assert_eq!(model::files(&model).unwrap(), std::slice::from_ref(&model));
        // 1e-4 of the RMS: the README's limit for these files.
        let worst = compare(&model, &fixture(&format!("gguf/{name}.reference.safetensors")), 1e-4, folder.path());
        println!("{name}: {worst:.1e}");
    }
    let other = model::header(&fixture("models/gpt2/config.json")).unwrap_err();
    assert!(other.to_string().contains("expected a folder in Hugging Face layout or a .gguf file"), "{other}");
}

#[test]
fn tokenizers_rebuilt_from_gguf_cut_text_as_the_originals() {
    for (name, original) in [("llama_kquants", "llama3_bpe"), ("llama_q8_q4", "llama_sp"), ("qwen2_f16", "qwen_bpe")] {
        let json = model::tokenizer_json(&fixture(&format!("gguf/{name}.gguf"))).unwrap();
        let rebuilt = tokenizers::Tokenizer::from_bytes(json.as_bytes()).unwrap();
        let original = fixture("tokenizers").join(original);
        let reference = std::fs::read_to_string(original.join("reference.json")).unwrap();
        let reference: serde_json::Value = serde_json::from_str(&reference).unwrap();
        let tokenizer = tokenizers::Tokenizer::from_file(original.join("tokenizer.json")).unwrap();
        assert_eq!(rebuilt.get_vocab_size(true), tokenizer.get_vocab_size(true));
        for row in reference["rows"].as_array().unwrap() {
            let text = row["text"].as_str().unwrap();
            for special in [false, true] {
                let (a, b) = (rebuilt.encode(text, special).unwrap(), tokenizer.encode(text, special).unwrap());
                assert_eq!(a.get_ids(), b.get_ids(), "{name} {text:?}");
                assert_eq!(a.get_offsets(), b.get_offsets(), "{name} {text:?}");
                let decoded = |t: &tokenizers::Tokenizer| t.decode(a.get_ids(), true).unwrap();
                assert_eq!(decoded(&rebuilt), decoded(&tokenizer), "{name} {text:?}");
            }
        }
    }
}

/// The same files with the other version's `config.json`.
fn with_other_config(model: &Path, folder: &Path) -> PathBuf {
    let copy = folder.join("model");
    let _ = std::fs::remove_dir_all(&copy);
    std::fs::create_dir(&copy).unwrap();
    for file in std::fs::read_dir(model).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let target = match name.as_str() {
            "config.json" => continue,
            "config.v5.json" | "config.legacy.json" => "config.json",
            other if other.starts_with("model") => other,
            _ => continue,
        };
        std::fs::copy(&path, copy.join(target)).unwrap();
    }
    copy
}

#[test]
fn both_generations_of_config_keys_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for (name, limit) in FAMILIES {
        let model = own(name);
        let copy = with_other_config(&model, folder.path());
        compare(&copy, &model.join("reference.safetensors"), *limit, folder.path());
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

fn batch(contexts: &[Vec<u32>]) -> TokenBatch {
    batch_of(contexts, |_, p| p > 0)
}

/// The positions that are `counted`, given as (context, position), are rows.
fn batch_of(contexts: &[Vec<u32>], counted: impl Fn(usize, usize) -> bool) -> TokenBatch {
    let mut batch = TokenBatch::new(3, 0);
    for (c, ids) in contexts.iter().enumerate() {
        batch.documents.push(Document { number: c as u64, name: format!("doc-{c}").into(), ..Document::default() });
        let counted: Vec<bool> = (0..ids.len()).map(|p| counted(c, p)).collect();
        batch.push(ids.clone(), &counted, &[(0, c as u32)]);
    }
    batch
}

fn forward(model: &dyn model::Model, batch: &TokenBatch, hookpoints: &[Hookpoint]) -> Result<Vec<ActivationBatch>> {
    model::forward(model, batch, &batch.views[0], hookpoints, &[])
}

fn some_contexts() -> Vec<Vec<u32>> {
    [128, 17, 1, 64, 65, 128, 2]
        .iter()
        .enumerate()
        .map(|(c, &n)| (0..n).map(|p| (p * 37 + c as u32 * 101) % 4096).collect())
        .collect()
}

const HOOKPOINTS: [Hookpoint; 4] =
    [Hookpoint::ResidPost(2), Hookpoint::Embed, Hookpoint::MlpIn(1), Hookpoint::AttnZ(0)];

#[test]
fn a_row_depends_on_its_context_alone() {
    let model = model::open(&demo("small-a")).unwrap();
    let contexts = some_contexts();
    let whole = forward(model.as_ref(), &batch(&contexts), &HOOKPOINTS).unwrap();
    for (h, part) in whole.iter().enumerate() {
        assert_eq!(part.hookpoint, HOOKPOINTS[h]);
        let mut alone = Vec::new();
        for context in &contexts {
            let one = forward(model.as_ref(), &batch(std::slice::from_ref(context)), &HOOKPOINTS[h..=h]).unwrap();
            alone.extend(bits(one[0].x.as_slice()));
        }
        assert!(bits(part.x.as_slice()) == alone, "{}", part.hookpoint);
        assert_eq!(part.x.n_rows(), contexts.iter().map(|c| c.len() - 1).sum::<usize>());
    }
}

#[test]
fn the_rows_of_a_batch_are_the_counted_positions_in_order() {
    let model = model::open(&demo("small-a")).unwrap();
    let batch = batch_of(&some_contexts(), |c, p| match c {
        0 => p % 3 == 1,
        4 => false,
        _ => p > 0,
    });
    let read = forward(model.as_ref(), &batch, &HOOKPOINTS).unwrap();
    let whole: Vec<_> =
        batch.views[0].contexts.iter().map(|c| model.activations(&c.ids, &HOOKPOINTS).unwrap()).collect();
    for (h, part) in read.iter().enumerate() {
        assert_eq!(part.x.n_rows(), batch.n_rows());
        for (row, (_, c, p)) in part.x.rows().zip(batch.views[0].tokens()) {
            assert_eq!(row, whole[c][h].row(p), "{} of context {c}, position {p}", part.hookpoint);
        }
    }
}

#[test]
fn one_thread_and_three_give_the_same_bits() {
    let model = model::open(&demo("small-b")).unwrap();
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let out = pool.install(|| forward(model.as_ref(), &batch(&some_contexts()), &HOOKPOINTS)).unwrap();
        out.iter().map(|part| bits(part.x.as_slice())).collect::<Vec<_>>()
    };
    assert!(with(1) == with(3));
}

#[test]
fn blocks_that_nobody_asked_for_are_not_needed() {
    let whole = model::open(&demo("small-a")).unwrap();
    let ids: Vec<u32> = (0..40).collect();
    for hookpoint in [Hookpoint::ResidPost(1), Hookpoint::ResidPre(2), Hookpoint::Embed, Hookpoint::FinalNorm] {
        let part = model::open_for(&demo("small-a"), None, Compute::default(), &[hookpoint]).unwrap();
        let (a, b) = (whole.activations(&ids, &[hookpoint]).unwrap(), part.activations(&ids, &[hookpoint]).unwrap());
        assert!(bits(a[0].as_slice()) == bits(b[0].as_slice()), "{hookpoint}");
    }
    let part = model::open_for(&demo("small-a"), None, Compute::default(), &[Hookpoint::ResidPre(2)]).unwrap();
    let error = part.activations(&ids, &[Hookpoint::MlpIn(2)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Request);
    assert!(error.to_string().contains("needs 3 blocks, 2 were loaded"), "{error}");
}

#[test]
fn random_weights_leave_what_enters_and_change_what_comes_out() {
    let ids: Vec<u32> = (0..40).collect();
    let hookpoints = [Hookpoint::Embed, Hookpoint::ResidPost(2)];
    let read = |random| model::open_redrawn(&demo("small-a"), random).unwrap().activations(&ids, &hookpoints).unwrap();
    let weights = |seed| Some(model::RandomWeights { seed, embeddings: false });
    let (own, drawn, again, other) = (read(None), read(weights(42)), read(weights(42)), read(weights(32)));
    assert_eq!(own, model::open(&demo("small-a")).unwrap().activations(&ids, &hookpoints).unwrap());
    assert_eq!(own[0], drawn[0], "the embedding is left alone");
    assert!(bits(drawn[1].as_slice()) == bits(again[1].as_slice()), "a seed gives the same weights");
    let distance = |a: &Matrix<f32>, b: &Matrix<f32>| {
        let differences = a.as_slice().iter().zip(b.as_slice()).map(|(x, y)| (x - y).powi(2)).sum::<f32>();
        (differences / a.as_slice().iter().map(|x| x * x).sum::<f32>()).sqrt()
    };
    assert!(distance(&own[1], &drawn[1]) > 0.1 && distance(&other[1], &drawn[1]) > 0.1);
    let part = model::open_for(&demo("small-a"), weights(42), Compute::default(), &hookpoints[1..]).unwrap();
    assert_eq!(part.activations(&ids, &hookpoints[1..]).unwrap()[0], drawn[1], "in part as in whole");
    // embeddings too: what enters is drawn, row by row, with the stored spread
    let all = |seed| Some(model::RandomWeights { seed, embeddings: true });
    let (anew, same) = (read(all(42)), read(all(42)));
    assert!(bits(anew[0].as_slice()) == bits(same[0].as_slice()));
    assert!(distance(&own[0], &anew[0]) > 0.5 && distance(&anew[0], &read(all(32))[0]) > 0.5);
    // over tokens of all frequencies: rows of rare ones are shorter
    let many: Vec<u32> = (0..100).map(|k| 40 * k).collect();
    let embed =
        |random| model::open_redrawn(&demo("small-a"), random).unwrap().activations(&many, &hookpoints[..1]).unwrap();
    let (own, anew) = (embed(None), embed(all(42)));
    let spread = |m: &Matrix<f32>| (m.as_slice().iter().map(|v| v * v).sum::<f32>() / m.as_slice().len() as f32).sqrt();
    assert!((spread(&anew[0]) / spread(&own[0]) - 1.0).abs() < 0.2, "{} {}", spread(&anew[0]), spread(&own[0]));
}

#[test]
fn what_enters_a_block_is_what_the_one_before_gave() {
    let model = model::open(&demo("small-b")).unwrap();
    let ids: Vec<u32> = (100..140).collect();
    let read = |h: Hookpoint| model.activations(&ids, &[h]).unwrap().remove(0);
    assert_eq!(read(Hookpoint::ResidPre(0)), read(Hookpoint::Embed));
    assert_eq!(read(Hookpoint::ResidPre(3)), read(Hookpoint::ResidPost(2)));
    // Asked for twice, given twice.
    let twice = model.activations(&ids, &[Hookpoint::MlpOut(1), Hookpoint::Embed, Hookpoint::MlpOut(1)]).unwrap();
    assert_eq!(twice[0], twice[2]);
    assert_eq!(model.activations(&[], &[Hookpoint::Embed]).unwrap()[0].n_rows(), 0);
}

#[test]
fn wrong_requests_and_ids_are_named() {
    let model = model::open(&demo("small-a")).unwrap();
    let fail = |ids: &[u32], h: Hookpoint| model.activations(ids, &[h]).unwrap_err();
    let cases: [(&[u32], Hookpoint, ErrorKind, &str); 4] = [
        (&[1, 2], Hookpoint::ResidPost(4), ErrorKind::Request, "names block 4, the model has 4 blocks"),
        (&[1, 2], Hookpoint::AttnOutNormed(0), ErrorKind::Request, "family gpt_neox has no norms after attention"),
        (
            &[1, 4096],
            Hookpoint::Embed,
            ErrorKind::Input,
            "token id 4096 at position 1 is outside the vocabulary of 4096",
        ),
        (&[0; 257], Hookpoint::Embed, ErrorKind::Input, "257 tokens is longer than its 256 positions"),
    ];
    for (ids, hookpoint, kind, text) in cases {
        let error = fail(ids, hookpoint);
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(text), "{error}");
    }
}

/// A copy of demo model `small-a` with its configuration and weights passed through the two functions.
fn changed(folder: &Path, config: impl Fn(String) -> String, weights: impl Fn(Vec<u8>) -> Vec<u8>) -> PathBuf {
    let from = demo("small-a");
    let text = std::fs::read_to_string(from.join("config.json")).unwrap();
    std::fs::write(folder.join("config.json"), config(text)).unwrap();
    let bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    std::fs::write(folder.join("model.safetensors"), weights(bytes)).unwrap();
    folder.to_path_buf()
}

#[test]
fn damaged_and_ill_fitting_files_are_named_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let same = |b: Vec<u8>| b;
    let flip = |find: &'static str, put: &'static str| {
        move |mut bytes: Vec<u8>| {
            let at = bytes.windows(find.len()).position(|w| w == find.as_bytes()).unwrap();
            bytes[at..at + put.len()].copy_from_slice(put.as_bytes());
            bytes
        }
    };
    let refused = |kind: ErrorKind, text: &str| {
        let error = model::header(path).unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(text), "{error}");
        assert_eq!(model::open(path).map(|_| ()).unwrap_err().to_string(), error.to_string());
    };
    changed(
        path,
        |c| c,
        |mut b| {
            b.truncate(b.len() - 1);
            b
        },
    );
    refused(ErrorKind::Input, "end elsewhere than the file");
    changed(
        path,
        |c| c,
        |mut b| {
            b.truncate(5);
            b
        },
    );
    refused(ErrorKind::Input, "too short for a header");
    changed(
        path,
        |c| c,
        |mut b| {
            b[6] = 0x7f;
            b
        },
    );
    refused(ErrorKind::Input, "model.safetensors");
    changed(path, |c| c, flip("layers.3.mlp.dense_4h_to_h.bias", "layers.3.mlp.dense_4h_to_h.bios"));
    refused(ErrorKind::Input, "layers.3.mlp.dense_4h_to_h.bias\" [128] is missing");
    changed(path, |c| c.replace("\"intermediate_size\": 384", "\"intermediate_size\": 512"), same);
    refused(ErrorKind::Input, "is [384, 128], config.json gives [512, 128]");
    changed(path, |c| c.replace("\"num_attention_heads\": 4", "\"num_attention_heads\": 5"), same);
    refused(ErrorKind::Input, "5 heads do not divide a width of 128");
    changed(path, |c| c.replace("gpt_neox", "gpt_zero"), same);
    refused(ErrorKind::Request, "architecture \"gpt_zero\" is not supported; supported are gpt_neox");
    changed(path, |c| c.replace("\"gelu\"", "\"mish\""), same);
    refused(ErrorKind::Request, "hidden_act is \"mish\"");
    changed(path, |c| c.replace("\"hidden_size\": 128", "\"hidden_size\": -1"), same);
    refused(ErrorKind::Input, "hidden_size is -1");
    changed(path, |_| "[]".into(), same);
    refused(ErrorKind::Input, "expected a JSON object");
    std::fs::remove_file(path.join("model.safetensors")).unwrap();
    changed(path, |c| c, same);
    std::fs::rename(path.join("model.safetensors"), path.join("pytorch_model.bin")).unwrap();
    refused(ErrorKind::Input, "pytorch_model.bin: is neither of torch's containers");
    std::fs::remove_file(path.join("pytorch_model.bin")).unwrap();
    refused(ErrorKind::Request, "found none of model.safetensors, model.safetensors.index.json, pytorch_model.bin");
    std::fs::write(path.join("adapter_config.json"), "{}").unwrap();
    refused(ErrorKind::Request, "an adapter alone: merge it into its model");
}

#[test]
fn the_single_file_is_read_where_an_index_stands_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = changed(folder.path(), |c| c, |b| b);
    let index = r#"{"weight_map": {"gpt_neox.embed_in.weight": "model-00001-of-00002.safetensors"}}"#;
    std::fs::write(path.join("model.safetensors.index.json"), index).unwrap();
    // What the index names is not looked at, there or not.
    std::fs::write(path.join("model-00001-of-00002.safetensors"), "damaged").unwrap();
    let read = |path: &Path| {
        let x = model::open(path).unwrap().activations(&[1, 2, 3], &[Hookpoint::ResidPost(3)]).unwrap().remove(0);
        bits(x.as_slice())
    };
    assert!(read(&path) == read(&demo("small-a")));
    assert_eq!(model::files(&path).unwrap(), [path.join("config.json"), path.join("model.safetensors")]);
    std::fs::remove_file(path.join("model.safetensors")).unwrap();
    let error = model::open(&path).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("model-00001-of-00002.safetensors"), "{error}");
}

#[test]
fn weights_that_are_not_finite_are_found_at_the_first_gate() {
    let folder = tempfile::tempdir().unwrap();
    // The last two bytes of the file belong to some tensor; a NaN of f16 anywhere in the blocks spreads to the rows.
    let path = changed(
        folder.path(),
        |c| c,
        |mut b| {
            let header = u64::from_le_bytes(b[..8].try_into().unwrap()) as usize;
            let text = std::str::from_utf8(&b[8..8 + header]).unwrap();
            let at = text.find("layers.0.mlp.dense_4h_to_h.bias").unwrap();
            let offsets = &text[at + text[at..].find("data_offsets").unwrap()..];
            let start: usize = offsets[offsets.find('[').unwrap() + 1..offsets.find(',').unwrap()].parse().unwrap();
            b[8 + header + start..][..2].copy_from_slice(&[0xff, 0x7f]);
            b
        },
    );
    let model = model::open(&path).unwrap();
    let error = forward(model.as_ref(), &batch(&[vec![1, 2, 3]]), &[Hookpoint::ResidPost(0)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(error.to_string().contains("at resid_post.0 is not finite, document doc-0"), "{error}");
}

#[test]
fn sizes_and_files_are_known_from_the_header() {
    let shape = model::header(&demo("small-b")).unwrap();
    assert_eq!((shape.n_layers, shape.d_model, shape.d_attn, shape.n_vocab), (6, 160, 160, 4096));
    assert_eq!(shape.max_context, Some(256));
    // query, key and value, output, MLP up and down, two norms
    let block = (3 + 1) * 160 * 160 + 2 * 160 * 320 + (3 + 1 + 1) * 160 + 320 + 2 * 2 * 160;
    assert_eq!(shape.n_block_parameters, block);
    for n in [0, 2, 6] {
        let bytes = 4 * (n as u64 * block + 2 * 160);
        assert_eq!(model::weight_bytes(&shape, Compute::default(), n), Takes { here: bytes, device: 0 });
        let half = Compute { device: "cuda:0".parse().unwrap(), dtype: Numbers::Bf16, ..candle() };
        let takes = model::weight_bytes(&shape, half, n);
        assert!(takes.device >= bytes / 2 && takes.device < bytes / 2 + (1 << 20) && takes.here < 1 << 20, "{takes:?}");
    }
    let places = [Hookpoint::ResidPost(0), Hookpoint::ResidPost(1)];
    let running = |compute, contexts, threads| model::running_bytes(&shape, compute, [contexts, 128], &places, threads);
    let one = running(Compute::default(), 32, 1).here;
    assert!(one > 128 * 160 * 4 * 4 && running(Compute::default(), 32, 3).here == 3 * one);
    assert!(running(candle(), 32, 1).here > running(candle(), 1, 1).here);
    let names: Vec<String> = model::files(&demo("small-b"))
        .unwrap()
        .iter()
        .map(|p| p.file_name().unwrap().to_str().unwrap().to_string())
        .collect();
    assert_eq!(names, ["config.json", "model.safetensors"]);
    assert_eq!(model::files(&own("llama_sharded")).unwrap().len(), 5);
}

#[test]
fn the_tokens_file_is_read_as_documented() {
    let folder = tempfile::tempdir().unwrap();
    let (tokens, out) = (folder.path().join("ids.safetensors"), folder.path().join("x.safetensors"));
    let write = |tensors: &BTreeMap<&str, (Dtype, Vec<usize>, Vec<u8>)>| {
        let views = tensors.iter().map(|(n, (t, s, b))| (*n, TensorView::new(*t, s.clone(), b).unwrap()));
        std::fs::write(&tokens, safetensors::serialize(views, None).unwrap()).unwrap();
    };
    let mut tensors = BTreeMap::new();
    let ids: Vec<u8> = (0..12_i32).flat_map(|v| v.to_le_bytes()).collect();
    tensors.insert("input_ids", (Dtype::I32, vec![3, 4], ids.clone()));
    tensors.insert("one.input_ids", (Dtype::U16, vec![2], vec![5, 0, 1, 1]));
    tensors.insert("other", (Dtype::F32, vec![12], ids));
    write(&tensors);
    let usual = Compute::default();
    activations(&demo("small-a"), usual, &tokens, &names(&[Hookpoint::ResidPost(0), Hookpoint::Embed]), &out).unwrap();
    let bytes = std::fs::read(&out).unwrap();
    let found = SafeTensors::deserialize(&bytes).unwrap();
    let mut shapes: Vec<_> = found.iter().map(|(name, view)| (name.to_string(), view.shape().to_vec())).collect();
    shapes.sort();
    let want = [
        ("embed", vec![3, 4, 128]),
        ("one.embed", vec![2, 128]),
        ("one.resid_post.0", vec![2, 128]),
        ("resid_post.0", vec![3, 4, 128]),
    ];
    assert_eq!(shapes, want.map(|(n, s)| (n.to_string(), s)));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside the output");
    tensors.insert("bad.input_ids", (Dtype::I64, vec![1], (-1_i64).to_le_bytes().to_vec()));
    write(&tensors);
    let error = activations(&demo("small-a"), usual, &tokens, &names(&[Hookpoint::Embed]), &out).unwrap_err();
    assert!(error.to_string().contains("\"bad.input_ids\": -1 is no token id"), "{error}");
}
