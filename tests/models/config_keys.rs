//! Every key of every family's configuration, absent, null, at its default and at another value: the values of
//! transformers, or a refusal that names the key. The answers are made by `benches/peers/config_keys.py`.

use super::floats;
use cognate::ids::Hookpoint;
use cognate::model;
use safetensors::SafeTensors;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// 1e-4 of the root mean square: f32 sums in another order over two blocks, up to 3e-5 here.
const LIMIT: f64 = 1e-4;

/// Keys that may be refused where transformers answers, each with a word of its message that is not the key.
const MAY_BE_REFUSED: &[(&str, &str)] = &[
    ("activation_function", "supported are"),
    ("hidden_act", "supported are"),
    ("hidden_activation", "hidden_act"),
    ("is_causal", "attention to later tokens"),
    ("use_bidirectional_attention", "attention to later tokens"),
    ("per_layer_config", "single layers"),
    ("attn_logit_softcapping", "softcapping"),
    ("rope_theta", "rotary_emb_base"),
    ("rotary_emb_base", "rope_theta"),
    ("rotary_pct", "whole heads"),
    ("partial_rotary_factor", "remove"),
    ("head_dim", "hidden_size / num_attention_heads"),
    // A class has a number of heads of its own that fits by chance.
    ("num_heads", "missing"),
    ("num_attention_heads", "missing"),
    // Nothing is seen through it.
    ("sliding_window", "from 1 to"),
    // The context of the fixtures is longer; transformers lets it pass where positions are rotations.
    ("max_position_embeddings", "longer than its 12 positions"),
    ("alibi", "positions by ALiBi"),
    ("rotary_pct", "remove the wrong one"),
    // What transformers would put into it beside what is read.
    ("rope_scaling", "is not supported"),
];

/// Words of the refusals of rotations that transformers makes something of: one that is not here (`proportional`), keys that
/// it drops without a word, fractions that it does not look at, lists that it spreads over all pairs.
const ROTATION_MAY_BE_REFUSED: &[&str] = &[
    "proportional",
    "no scaling of rotations reads it",
    "whole heads",
    "types of layers",
    "remove the wrong one",
    "is not a list of",
    "cannot be rotated in pairs",
    "in this family",
    "is not read",
    "a positive number",
    "longer than its 12 positions",
];

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config_keys")
}

/// What the script wrote of a family.
pub fn about(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

struct Fixture {
    family: String,
    about: Value,
    expected: Vec<u8>,
}

fn fixtures() -> Vec<Fixture> {
    let mut families: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".json")?.to_string()))
        .collect();
    families.sort();
    assert!(families.len() >= 12, "{families:?}");
    let read = |family: String| Fixture {
        about: about(&folder().join(format!("{family}.json"))),
        expected: std::fs::read(folder().join(format!("{family}.expected.safetensors"))).unwrap(),
        family,
    };
    families.into_iter().map(read).collect()
}

/// The base configuration with a case's edit.
fn edited(base: &Value, case: &Value) -> Map<String, Value> {
    let mut config = base.as_object().unwrap().clone();
    for key in case["remove"].as_array().into_iter().flatten() {
        config.remove(key.as_str().unwrap());
    }
    config.extend(case["set"].as_object().cloned().unwrap_or_default());
    config
}

/// What the last block gives, or why there is nothing.
fn found(folder: &Path, config: &Map<String, Value>, ids: &[u32]) -> Result<Vec<f64>, String> {
    std::fs::write(folder.join("config.json"), serde_json::to_vec(config).unwrap()).unwrap();
    let model = model::open(folder).map_err(|e| e.to_string())?;
    let last = Hookpoint::ResidPost(model.shape().n_layers - 1);
    let x = model.activations(ids, &[last]).map_err(|e| e.to_string())?.remove(0);
    Ok(x.as_slice().iter().map(|v| f64::from(*v)).collect())
}

/// Largest difference over the root mean square of what is wanted.
pub fn off(want: &[f64], got: &[f64]) -> f64 {
    let rms = (want.iter().map(|v| v * v).sum::<f64>() / want.len() as f64).sqrt();
    assert_eq!(want.len(), got.len());
    want.iter().zip(got).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / rms
}

/// Whether a refusal says what it is about: the key, the file of weights, or the shape of a tensor.
fn names(error: &str, case: &Value) -> bool {
    let keys = |part: &str| -> Vec<String> {
        let keys = case[part].as_object().into_iter().flatten().flat_map(|(key, value)| {
            let inside = value.as_object().into_iter().flatten().map(|(key, _)| key.clone());
            inside.chain([key.clone()]).collect::<Vec<_>>()
        });
        keys.chain(case[part].as_array().into_iter().flatten().map(|key| key.as_str().unwrap().to_string())).collect()
    };
    let weights = ["tensor \"", "heads do not divide", "of a head", "positions; lower context_length"];
    let weights = weights.iter().any(|word| error.contains(word));
    weights
        || error.contains(case["key"].as_str().unwrap())
        || keys("set").iter().chain(&keys("remove")).any(|key| error.contains(key.as_str()))
}

#[test]
fn every_key_of_a_configuration_is_read_as_transformers_reads_it_or_refused_by_name() {
    let (mut worst, mut faults) = (0.0_f64, Vec::new());
    let mut refused: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for fixture in fixtures() {
        let model = tempfile::tempdir().unwrap();
        std::fs::copy(folder().join(format!("{}.safetensors", fixture.family)), model.path().join("model.safetensors"))
            .unwrap();
        let expected = SafeTensors::deserialize(&fixture.expected).unwrap();
        let answer = |name: &str| floats(&expected.tensor(name).unwrap());
        let same = answer("same");
        let ids: Vec<u32> =
            fixture.about["ids"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect();
        let mut table: BTreeMap<&str, BTreeMap<&str, BTreeMap<&str, usize>>> = BTreeMap::new();
        for case in fixture.about["cases"].as_array().unwrap() {
            let (key, how) = (case["key"].as_str().unwrap(), case["how"].as_str().unwrap());
            let expected = case["expected"].as_str().unwrap();
            let label = || format!("{} {key} {how} {}", fixture.family, case["set"]);
            let answered = expected == "same" || expected.starts_with("answer.");
            let verdict = match found(model.path(), &edited(&fixture.about["base"], case), &ids) {
                Ok(got) => {
                    // Where transformers has no answer, nothing but what the key's absence gives will do.
                    let want = if answered { answer(expected) } else { same.clone() };
                    let off = if want.len() == got.len() { off(&want, &got) } else { f64::INFINITY };
                    if off.is_nan() || off > LIMIT || expected == "incomplete" {
                        faults.push(format!("{}: {expected}, found values off by {off:.1e}", label()));
                        "WRONG"
                    } else if answered {
                        worst = worst.max(off);
                        "equal"
                    } else {
                        "as without"
                    }
                }
                Err(error) => {
                    if !names(&error, case) {
                        faults.push(format!("{}: refused without the key's name: {error}", label()));
                    }
                    let of_rotation = ROTATION_MAY_BE_REFUSED.iter().any(|word| error.contains(word));
                    let allowed = (key == "rotation" && of_rotation)
                        || MAY_BE_REFUSED.iter().any(|(may, word)| *may == key && error.contains(word))
                        || !answered;
                    if !allowed {
                        faults.push(format!("{}: {expected}, but refused: {error}", label()));
                    }
                    if answered {
                        let what = if key == "rotation" { format!("rotation {how}") } else { format!("{key} {how}") };
                        refused.entry((what, error_kind(&error))).or_default().insert(fixture.family.clone());
                    }
                    "refused"
                }
            };
            let how = if key == "rotation" { "rotation" } else { how };
            *table.entry(key).or_default().entry(how).or_default().entry(verdict).or_default() += 1;
        }
        print_table(&fixture.family, &table);
    }
    for ((what, error), families) in &refused {
        println!(
            "refused where transformers answers: {what}: {} ({error})",
            families.iter().cloned().collect::<Vec<_>>().join(" ")
        );
    }
    println!("largest difference: {worst:.1e} of RMS");
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// A message without the path before it.
fn error_kind(error: &str) -> String {
    let text = error.split_once("config.json: ").map_or(error, |(_, rest)| rest);
    text.chars().take(90).collect()
}

fn print_table(family: &str, table: &BTreeMap<&str, BTreeMap<&str, BTreeMap<&str, usize>>>) {
    println!("{family}: key, absent, null, default, other");
    for (key, row) in table {
        let cell = |how: &str| {
            let counts = row.get(how).into_iter().flatten();
            counts
                .map(|(verdict, n)| if *n == 1 { (*verdict).to_string() } else { format!("{n} {verdict}") })
                .collect::<Vec<_>>()
                .join(" + ")
        };
        if *key == "rotation" {
            println!("  {key}: {}", cell("rotation"));
        } else {
            println!("  {key}: {}, {}, {}, {}", cell("absent"), cell("null"), cell("default"), cell("other"));
        }
    }
}

#[test]
fn every_key_of_transformers_classes_is_accounted_for() {
    for fixture in fixtures() {
        for field in fixture.about["fields"].as_array().unwrap() {
            let field = field.as_str().unwrap();
            assert!(model::knows_key(&fixture.family, field), "{}: {field} stands in no table of keys", fixture.family);
        }
    }
}
