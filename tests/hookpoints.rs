//! Does every name of TransformerLens 3 and 4 and of transformers mean here what it means there? Small models of every
//! family, read by those libraries at every place that they have (`benches/peers/hookpoints.py` writes the fixtures).

use cognate::ids::{HookName, Hookpoint, families, library_names, resolve};
use cognate::model::{self, Model};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Largest difference over the root mean square of what a library gave: f32 sums in another order, through two blocks.
const LIMIT: f64 = 1e-4;

/// Names that are refused though they hold what a place holds, and why.
const NOT_READ: &[(&str, &str)] = &[
    ("hook_normalized", "its meaning changed from version to version"),
    ("attn.hook_hidden_states", "an argument of the attention that some families have"),
    ("rotary_emb", "it is called with the stream for its type alone"),
    ("lm_head.input", "the output head is not read; final_norm"),
    ("unembed.hook_in", "the output head of a model without a final norm"),
    ("dropout", "without training it changes nothing; its neighbours are read"),
    ("project_in", "the token's row of OPT-350m on its way to the stream"),
    ("project_out", "the output head of OPT-350m"),
    ("hook_pos_embed", "positions alone"),
    ("embed_positions", "positions alone"),
    ("wpe", "positions alone"),
    ("pos_embed.hook_out", "positions alone"),
    ("model.norm.input", "the last block's output by another name"),
    ("final_layer_norm.input", "the last block's output by another name"),
    ("final_layernorm.input", "the last block's output by another name"),
    ("ln_f.input", "the last block's output by another name"),
    ("ln_final.hook_in", "the last block's output by another name"),
    ("hook_rot", "queries and keys after the rotation"),
    ("q_norm", "a norm of the heads"),
    ("k_norm", "a norm of the heads"),
];

struct Fixture {
    folder: PathBuf,
    model_type: String,
    ids: Vec<u32>,
    /// Tensor of each name, by library.
    names: BTreeMap<String, BTreeMap<String, String>>,
    values: BTreeMap<String, (usize, Vec<f64>)>,
}

impl Fixture {
    fn name(&self) -> String {
        self.folder.file_name().unwrap().to_string_lossy().into_owned()
    }
}

fn fixtures() -> Vec<Fixture> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hookpoints");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    let fixtures = folders.into_iter().filter(|f| f.is_dir()).map(read);
    let (read, other): (Vec<_>, Vec<_>) = fixtures.partition(|f| is_read(&f.model_type));
    for fixture in other {
        println!("{:20} no model of family {} is read", fixture.name(), fixture.model_type);
    }
    read
}

fn read(folder: PathBuf) -> Fixture {
    let text = std::fs::read_to_string(folder.join("names.json")).unwrap();
    let mut names: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    let ids = serde_json::from_value(names.remove("ids").unwrap()).unwrap();
    let names = names.into_iter().map(|(k, v)| (k, serde_json::from_value(v).unwrap())).collect();
    let bytes = std::fs::read(folder.join("values.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let values = tensors.iter().map(|(name, view)| {
        let floats = view.data().as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect();
        (name.to_string(), (view.shape()[1], floats))
    });
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    let model_type = config["model_type"].as_str().unwrap().to_string();
    Fixture { ids, model_type, names, values: values.collect(), folder }
}

/// Every place that the model has.
fn places(model: &dyn Model) -> Vec<Hookpoint> {
    let shape = model.shape();
    Hookpoint::all(shape.n_layers).filter(|h| shape.width(*h).is_ok()).collect()
}

/// Largest difference over the root mean square of `want`.
fn off(want: &[f64], got: &[f32]) -> f64 {
    let rms = (want.iter().map(|v| v * v).sum::<f64>() / want.len() as f64).sqrt();
    want.iter().zip(got).map(|(a, b)| (a - f64::from(*b)).abs()).fold(0.0, f64::max) / rms
}

#[test]
fn every_name_means_in_every_family_what_its_library_gives() {
    let fixtures = fixtures();
    let mut seen = BTreeSet::new();
    for fixture in &fixtures {
        let model = model::open(&fixture.folder).unwrap();
        let shape = model.shape().clone();
        let name = fixture.name();
        seen.extend([shape.family.clone(), shape.names()]);
        let places = places(model.as_ref());
        let read = model.activations(&fixture.ids, &places).unwrap();
        let value = |place: Hookpoint| &read[places.iter().position(|p| *p == place).unwrap()];
        for (library, names) in &fixture.names {
            let (mut equal, mut worst) = (0, 0.0f64);
            let mut refused: BTreeMap<String, Vec<&str>> = BTreeMap::new();
            for (text, tensor) in names {
                let (width, want) = &fixture.values[tensor];
                let same = |place: Hookpoint| {
                    let x = value(place);
                    x.n_cols() == *width && off(want, x.as_slice()) <= LIMIT
                };
                match text.parse::<HookName>().and_then(|name| shape.place(&name)) {
                    Ok(place) => {
                        assert_eq!(value(place).n_cols(), *width, "{name}, {library} {text} as {place}");
                        let off = off(want, value(place).as_slice());
                        assert!(
                            off <= LIMIT,
                            "{name}: {library} {text}, read as {place}, is off by {off:.1e} of its RMS"
                        );
                        (equal, worst) = (equal + 1, worst.max(off));
                    }
                    Err(e) => {
                        let known = NOT_READ.iter().find(|(part, _)| text.contains(part));
                        let equal = places.iter().find(|place| same(**place));
                        if let (Some(place), None) = (equal, known) {
                            panic!("{name}: {library} {text} holds what {place} holds, and is refused: {e}");
                        }
                        let no_place = "no hookpoint here";
                        let reason = known.map_or(no_place, |(_, reason)| reason);
                        refused.entry(reason.to_string()).or_default().push(text);
                    }
                }
            }
            println!("{name:20} {library:4} {equal:3} names equal, largest difference {worst:.1e}");
            for (reason, names) in refused {
                println!("    {:3} refused, {reason}: {}", names.len(), names.join(" "));
            }
            assert!(equal >= 15, "{name}: {library} has {equal} names that are read");
        }
        names_of_both_versions(&fixture.names, &shape.names(), &name);
        given_names_exist(&fixture.names, &places, &shape.names(), &name);
    }
    let missing: Vec<&str> = families().filter(|f| is_read(f) && !seen.contains(*f) && *f != WITHOUT).collect();
    assert!(missing.is_empty(), "no fixture for {missing:?}");
}

/// The family without a fixture of its own: its text part is that of `gemma3_text`.
const WITHOUT: &str = "gemma3";

/// Whether models of this family are read.
fn is_read(family: &str) -> bool {
    let family = family.split('/').next().unwrap();
    let keys = json!({ "model_type": family, "text_config": {} }).as_object().unwrap().clone();
    let described = model::described_by(&keys, Path::new("keys"));
    described.map_or_else(|e| !e.to_string().contains("is not supported; supported are"), |_| true)
}

/// A name that the two versions of TransformerLens give different values is refused.
fn names_of_both_versions(names: &BTreeMap<String, BTreeMap<String, String>>, family: &str, model: &str) {
    let (Some(three), Some(four)) = (names.get("tl3"), names.get("tl4")) else { return };
    for (text, tensor) in three {
        if four.get(text).is_some_and(|other| other != tensor) {
            assert!(resolve(text, family).is_err(), "{model}: {text} differs between the versions and is read");
        }
    }
}

/// What the tables' metadata say a place is called elsewhere is a name that the library has.
fn given_names_exist(
    names: &BTreeMap<String, BTreeMap<String, String>>,
    places: &[Hookpoint],
    family: &str,
    model: &str,
) {
    for &place in places {
        let given = library_names(place, family);
        for (library, name) in
            [("tl3", given.transformer_lens_3), ("tl4", given.transformer_lens_4), ("hf", given.hugging_face)]
        {
            if let (Some(names), Some(name)) = (names.get(library), name) {
                assert!(
                    names.contains_key(&name),
                    "{model}: {place} is given as {library} {name}, which it has not got"
                );
            }
        }
    }
}

/// What is read does not depend on what else is read, to the last bit: the places inside the MLP make it go layer by layer.
#[test]
fn a_place_alone_holds_the_bits_that_it_holds_among_all() {
    for fixture in fixtures() {
        let model = model::open(&fixture.folder).unwrap();
        let places = places(model.as_ref());
        let all = model.activations(&fixture.ids, &places).unwrap();
        for (place, among) in places.iter().zip(&all) {
            let alone = model.activations(&fixture.ids, &[*place]).unwrap().remove(0);
            let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert!(bits(alone.as_slice()) == bits(among.as_slice()), "{}: {place}", fixture.folder.display());
        }
    }
}

#[test]
fn a_place_that_a_model_has_not_got_is_refused_with_the_way_out() {
    for fixture in fixtures() {
        let shape = model::header(&fixture.folder).unwrap();
        for name in ["resid_mid.0", "mlp_up.0", "mlp_gate_act.0", "attn_out_normed.0", "mlp_out_normed.0", "final_norm"]
        {
            let Err(e) = shape.width(Hookpoint::plain(name).unwrap()) else { continue };
            assert!(e.to_string().contains("take ") || e.to_string().contains("is mlp_in"), "{e}");
        }
        assert!(shape.place(&"resid_post.9".parse().unwrap()).unwrap_err().to_string().contains("has 2 blocks"));
    }
}
