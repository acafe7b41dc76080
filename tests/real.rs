//! Real language models, where `data/real/fetch.sh` has been run: do they continue a prompt as a language model does?

use cognate::corpus::Tokenizer;
use cognate::ids::Hookpoint;
use cognate::linalg::Matrix;
use cognate::model::{self, Model};
use std::path::{Path, PathBuf};
use std::process::Command;

mod common;

/// A fetched model; skips the test when it is missing.
fn real(file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/real").join(file);
    if !path.is_file() {
        common::skip(&format!("data/real/{file} is missing; data/real/fetch.sh downloads it"));
    }
    path.is_file().then_some(path)
}

/// The token of highest logit after `ids`. The output head of these models is their token table, which `embed` reads (up
/// to a factor); a softmax or a cap of logits does not change which is highest.
fn next_token(model: &dyn Model, ids: &[u32]) -> u32 {
    let last = model.activations(ids, &[Hookpoint::FinalNorm]).unwrap().remove(0);
    let x = last.row(ids.len() - 1);
    let table = |from: usize, to: usize| -> Matrix<f32> {
        model.activations(&(from as u32..to as u32).collect::<Vec<_>>(), &[Hookpoint::Embed]).unwrap().remove(0)
    };
    let (n_vocab, stretch) = (model.shape().n_vocab, model.shape().max_context.unwrap_or(4096));
    let mut best = (f64::NEG_INFINITY, 0);
    for from in (0..n_vocab).step_by(stretch) {
        for (k, row) in table(from, (from + stretch).min(n_vocab)).rows().enumerate() {
            let logit: f64 = row.iter().zip(x).map(|(a, b)| f64::from(a * b)).sum();
            if logit > best.0 {
                best = (logit, (from + k) as u32);
            }
        }
    }
    best.1
}

/// `n` tokens after `prompt`, as text.
fn goes_on(model: &dyn Model, tokenizer: &Tokenizer, prompt: &str, n: usize) -> String {
    let mut ids: Vec<u32> = tokenizer.bos_id().into_iter().chain(tokenizer.encode(prompt).unwrap()).collect();
    let from = ids.len();
    for _ in 0..n {
        ids.push(next_token(model, &ids));
    }
    let text = tokenizer.decode(&ids[from..]).unwrap();
    println!("{prompt:?} goes on {text:?}");
    text
}

#[test]
fn smollm2_goes_on_as_a_language_model_does() {
    let Some(path) = real("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let tokenizer = model::tokenizer(&path).unwrap();
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id()), (Some(1), Some(2), Some(2)));
    let model = model::open(&path).unwrap();
    let paris = goes_on(model.as_ref(), &tokenizer, "The capital of France is", 6);
    assert!(paris.contains("Paris"), "{paris:?}");
    let counted = goes_on(model.as_ref(), &tokenizer, "one, two, three, four, five, six,", 6);
    assert!(counted.contains("seven, eight"), "{counted:?}");
}

#[test]
fn gemma_3_goes_on_as_a_language_model_does() {
    let Some(path) = real("gemma-3-270m-q4_k_m.gguf") else { return };
    let tokenizer = model::tokenizer(&path).unwrap();
    let model = model::open(&path).unwrap();
    let counted = goes_on(model.as_ref(), &tokenizer, "one, two, three, four, five, six,", 2);
    assert!(counted.contains("seven"), "{counted:?}");
    let france = goes_on(model.as_ref(), &tokenizer, "Paris is the capital of", 1);
    assert!(france.contains("France"), "{france:?}");
}

#[test]
fn layers_of_smollm2_are_compared_by_the_dataflow_file() {
    let Some(_) = real("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_cognate"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["run", "dataflows/smollm2-layers.toml", "--json", "--max-tokens", "1000", "--out"])
        .arg(folder.path().join("run"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: serde_json::Value = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|l| serde_json::from_str(l).ok())
        .find(|v: &serde_json::Value| v["event"] == "summary")
        .expect("a summary is printed");
    let pairs = summary["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 15);
    let score = |measure: &str, source: usize, target: usize| -> f64 {
        let site = |l: usize| format!("smollm2/resid_post.{l}");
        let pair = pairs.iter().find(|p| p["source"] == site(source) && p["target"] == site(target)).unwrap();
        let score = pair["scores"].as_array().unwrap().iter().find(|s| s["measure"] == measure).unwrap();
        score["value"].as_f64().unwrap()
    };
    // a residual stream changes little by little: of its leading components the nearer layer keeps more; CKA follows the
    // few dimensions of very large values and need not say so
    for (near, far) in [((4, 9), (4, 24)), ((9, 14), (9, 29)), ((19, 24), (4, 29))] {
        let of = |measure: &str, (a, b): (usize, usize)| score(measure, a, b);
        println!(
            "layers {near:?} svcca_k20 {:.3} cka {:.3}, {far:?} {:.3} {:.3}",
            of("svcca_k20", near),
            of("cka", near),
            of("svcca_k20", far),
            of("cka", far)
        );
        assert!(of("svcca_k20", near) > of("svcca_k20", far));
    }
}
