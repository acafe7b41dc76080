//! Each statement of an SAE's files against a dataflow file that contradicts it, and one that insists.

use super::*;
use crate::sae::{Activation, Declared, Format};
use serde_json::{Map, json};

fn shape(declared: Declared) -> SaeShape {
    SaeShape {
        format: Format::SaeLens,
        d_in: 8,
        d_sae: 16,
        d_out: 8,
        activation: Activation::Relu,
        transcoder: declared.output.is_some(),
        skip: false,
        declared,
        files: Vec::new(),
        size_bytes: 0,
    }
}

fn model(family: &str, layer_norm: bool) -> ModelShape {
    ModelShape {
        family: family.into(),
        n_layers: 4,
        d_model: 8,
        d_attn: 8,
        d_kv: 8,
        d_mlp: 32,
        d_token: 8,
        n_vocab: 10,
        max_context: None,
        n_parameters: 0,
        n_block_parameters: 0,
        block: crate::ids::BlockKind::Sequential,
        gated: false,
        layer_norm,
    }
}

/// Settles an SAE at `site` with more keys; `corpus` has the corpus keys.
fn settled(
    site: &str,
    keys: &str,
    declared: Declared,
    facts: Option<&Facts>,
    layer_norm: bool,
    corpus: &str,
) -> Settled {
    settled_in(&model("gpt2", layer_norm), site, keys, shape(declared), facts, corpus)
}

/// The same of an SAE of these sizes, in this model.
fn settled_in(
    model: &ModelShape,
    site: &str,
    keys: &str,
    sae: SaeShape,
    facts: Option<&Facts>,
    corpus: &str,
) -> Settled {
    let spec: SaeSpec = toml::from_str(&format!("path = \"x\"\n{keys}")).unwrap();
    let corpus: CorpusOptions = toml::from_str(&format!("files = []\ncontext_length = 64\n{corpus}")).unwrap();
    let asked = Asked {
        site: &site.parse().unwrap(),
        spec: &spec,
        sae: &sae,
        facts,
        model,
        model_names: &["openai-community/gpt2".to_string()],
        corpus: &corpus,
    };
    settle(&asked, Reading::default())
}

fn of(site: &str, keys: &str, declared: Declared) -> Settled {
    settled(site, keys, declared, None, true, "")
}

fn one(settled: &Settled, words: &[&str]) {
    let [what] = settled.contradictions.as_slice() else { panic!("{settled:?}") };
    assert!(words.iter().all(|word| what.contains(word)), "{what}");
}

fn hook(name: &str) -> Declared {
    Declared { input: Some(Place::named(name)), ..Declared::default() }
}

#[test]
fn another_hookpoint_is_refused_with_both_named_unless_insisted_on() {
    let before = "blocks.1.hook_resid_pre";
    one(
        &of("m/resid_post.1", "", hook(before)),
        &[
            "blocks.1.hook_resid_pre, which is resid_post.0",
            "at resid_post.1",
            "[saes.\"m/resid_pre.1\"]",
            "insist = [\"hookpoint\"]",
        ],
    );
    // two names of one place
    for right in ["m/resid_post.0", "m/resid_pre.1"] {
        assert!(of(right, "", hook(before)).contradictions.is_empty(), "{right}");
    }
    assert!(of("m/embed", "", hook("blocks.0.hook_resid_pre")).contradictions.is_empty());
    assert!(of("m/resid_post.1", "insist = [\"hookpoint\"]", hook(before)).contradictions.is_empty());
    // insisting on something else is not enough
    one(&of("m/resid_post.1", "insist = [\"scale\"]", hook(before)), &["resid_post.0"]);
}

#[test]
fn a_name_that_is_not_understood_is_warned_of() {
    let found = of("m/resid_post.1", "", hook("encoder.block.3.layer.0"));
    assert!(found.contradictions.is_empty());
    assert!(
        found.warnings[0].contains("\"encoder.block.3.layer.0\"") && found.warnings[0].contains("is not checked"),
        "{found:?}"
    );
    assert!(of("m/resid_post.1", "insist = [\"hookpoint\"]", hook("encoder.block.3.layer.0")).warnings.is_empty());
}

/// What the registry says of an SAE at `hook`.
fn facts(hook: &str, scale: Option<f64>) -> Facts {
    Facts {
        name: "release/id".into(),
        repository: "owner/name".into(),
        path: "folder".into(),
        model: "gpt2-small".into(),
        hook: Some(hook.into()),
        hook_out: None,
        scale,
        neuronpedia: None,
        overrides: Map::new(),
    }
}

/// Without learned positions the token's row is what enters the first block; with them it is not.
#[test]
fn token_rows_are_another_place_where_a_family_has_positions() {
    let read =
        |family: &str, site: &str| settled_in(&model(family, true), site, "", shape(hook("hook_embed")), None, "");
    for site in ["m/embed", "m/resid_pre.0", "m/token_embed"] {
        assert!(read("llama", site).contradictions.is_empty(), "{site}");
    }
    assert!(read("gpt2", "m/token_embed").contradictions.is_empty());
    one(&read("gpt2", "m/embed"), &["hook_embed, which is token_embed", "at embed"]);
    one(&read("gpt2", "m/resid_pre.0"), &["hook_embed, which is token_embed"]);
}

#[test]
fn files_and_registry_that_agree_against_the_dataflow_file_are_one_contradiction() {
    let known = facts("blocks.2.hook_resid_pre", None);
    let found = settled("m/resid_post.3", "", hook("blocks.1.hook_resid_post"), Some(&known), true, "");
    one(&found, &["its files name blocks.1.hook_resid_post, which is resid_post.1"]);
}

#[test]
fn the_registry_names_model_output_and_factor_where_files_do_not() {
    let known =
        Facts { model: "pythia-70m".into(), hook_out: Some("blocks.1.hook_mlp_out".into()), ..facts("x", Some(2.0)) };
    let told = |declared: Declared| settled("m/mlp_in.1", "", declared, Some(&known), true, "");
    let input = || Some(Place::known("mlp_in.1", Hookpoint::MlpIn(1)));
    let said = |found: &Settled, words: &str| found.warnings.iter().any(|w| w.contains(words));
    let found = told(Declared { input: input(), ..Declared::default() });
    assert!(said(&found, "trained on \"pythia-70m\""), "{found:?}");
    let found = told(Declared { input: input(), model: Some("gpt2".into()), ..Declared::default() });
    assert!(!said(&found, "trained on"), "{found:?}");
    // the weights win, and the other factor is reported
    let found = told(Declared { input: input(), scale: Scale::Factor(3.0), ..Declared::default() });
    assert!(
        said(&found, "its files hold the factor 3, SAELens' registry gives 2; the files are believed"),
        "{found:?}"
    );
    assert!(found.contradictions.is_empty() && found.reading.scale.is_none());
    // a transcoder's output: its files', else the registry's
    let output = |declared: Option<Place>| {
        let mut sae = shape(Declared { input: input(), output: declared, ..Declared::default() });
        sae.transcoder = true;
        settled_in(&model("gpt2", true), "m/mlp_in.1", "", sae, Some(&known), "").output
    };
    assert_eq!(output(None), Some(Hookpoint::MlpOut(1)));
    assert_eq!(output(Some(Place::named("blocks.2.hook_mlp_out"))), Some(Hookpoint::MlpOut(2)));
}

#[test]
fn one_model_has_several_names() {
    for (ours, theirs) in [
        ("google/gemma-3-1b-pt", "gemma-v3-1b-pt"),
        ("meta-llama/Meta-Llama-3-8B", "llama-3-8b"),
        ("models/qwen2.gguf", "qwen2"),
        ("models/gpt2/", "gpt2-small"),
        ("mistralai/Mistral-7B-v0.1", "mistral-7b"),
        ("google/gemma_2_2b", "gemma-2-2b"),
    ] {
        assert_eq!(plain_name(ours), plain_name(theirs));
    }
    assert_ne!(plain_name("pythia-70m"), plain_name("pythia-70m-deduped"));
}

#[test]
fn the_registry_speaks_where_files_are_silent_and_is_overruled_by_them() {
    let silent =
        |site: &str| settled(site, "", Declared::default(), Some(&facts("blocks.2.hook_mlp_out", None)), true, "");
    one(&silent("m/resid_post.2"), &["SAELens' registry names blocks.2.hook_mlp_out, which is mlp_out.2"]);
    assert!(silent("m/mlp_out.2").contradictions.is_empty() && silent("m/mlp_out.2").warnings.is_empty());
    let both = settled(
        "m/mlp_out.2",
        "",
        hook("blocks.2.hook_mlp_out"),
        Some(&facts("blocks.1.hook_mlp_out", None)),
        true,
        "",
    );
    assert!(both.contradictions.is_empty() && both.warnings[0].contains("the files are believed"), "{both:?}");

    let missing = || Declared { scale: Scale::Missing, ..Declared::default() };
    let known = facts("blocks.2.hook_mlp_out", Some(2.37));
    let by_registry = |keys: &str, declared: Declared| settled("m/mlp_out.2", keys, declared, Some(&known), true, "");
    assert_eq!(by_registry("", missing()).reading.scale, Some(2.37));
    assert!(by_registry("scale = 2.3701", missing()).contradictions.is_empty());
    one(
        &by_registry("scale = 3.0", missing()),
        &["SAELens' registry gives the factor 2.37", "scale = 3", "insist = [\"scale\"]"],
    );
    let insisted = by_registry("scale = 3.0\ninsist = [\"scale\"]", missing());
    assert_eq!((insisted.contradictions.len(), insisted.reading.scale), (0, Some(3.0)));
    // SAELens folds it in only where the file asks for one
    let unasked = by_registry("", Declared::default());
    assert!(unasked.reading.scale.is_none() && unasked.warnings[0].contains("is not applied"), "{unasked:?}");
}

#[test]
fn a_factor_that_is_missing_is_asked_for_and_one_that_contradicts_is_refused() {
    let with = |scale: Scale, keys: &str| of("m/resid_post.1", keys, Declared { scale, ..Declared::default() });
    one(&with(Scale::Missing, ""), &["expected_average_only_in", "write scale = FACTOR", "cognate doctor"]);
    assert_eq!(with(Scale::Missing, "scale = 1.5").reading.scale, Some(1.5));
    assert!(with(Scale::Missing, "scale = 1.0").contradictions.is_empty());
    one(&with(Scale::Factor(5.27), "scale = 1.0"), &["its files hold the factor 5.27", "scale = 1", "insist"]);
    assert!(with(Scale::Factor(5.27), "scale = 1.0\ninsist = [\"scale\"]").contradictions.is_empty());
    assert!(with(Scale::Factor(5.27), "scale = 5.27").contradictions.is_empty());
    assert_eq!(with(Scale::Unsaid, "scale = 3.0").reading.scale, Some(3.0));
    assert_eq!(with(Scale::Unsaid, "").reading.scale, None);
}

#[test]
fn centring_is_believed_where_it_changes_something() {
    let said = |center: bool| Declared {
        processing: json!({ "center_writing_weights": center }).as_object().unwrap().clone(),
        ..Declared::default()
    };
    let read = |site: &str, keys: &str, center: bool, layer_norm: bool| {
        settled(site, keys, said(center), None, layer_norm, "")
    };
    for written in
        ["m/resid_post.1", "m/resid_pre.2", "m/resid_mid.1", "m/attn_out.0", "m/mlp_out.3", "m/embed", "m/token_embed"]
    {
        assert!(read(written, "", true, true).reading.center, "{written}");
        assert!(!read(written, "", true, false).reading.center, "RMSNorm, {written}");
        assert!(!read(written, "", false, true).reading.center);
    }
    for other in ["m/attn_z.1", "m/mlp_in.1"] {
        assert!(!read(other, "", true, true).reading.center, "{other}");
    }
    one(
        &read("m/resid_post.1", "center = false", true, true),
        &["center_writing_weights = true", "center = false", "insist"],
    );
    one(&read("m/resid_post.1", "center = true", false, true), &["center_writing_weights = false", "center = true"]);
    let insisted = read("m/resid_post.1", "center = false\ninsist = [\"center\"]", true, true);
    assert!(insisted.contradictions.is_empty() && !insisted.reading.center);
    assert!(of("m/resid_post.1", "center = true", Declared::default()).reading.center);
}

#[test]
fn other_processing_of_the_weights_gets_a_word_where_it_changes_the_place() {
    let with = |site: &str, key: &str, value: Value| {
        let processing = Map::from_iter([(key.to_string(), value)]);
        of(site, "", Declared { processing, ..Declared::default() }).warnings
    };
    let on = || Value::Bool(true);
    assert!(with("m/mlp_in.1", "fold_ln", on())[0].contains("before the norm's weight"));
    assert!(with("m/final_norm", "fold_ln", on())[0].contains("before the norm's weight"));
    assert!(with("m/attn_z.1", "fold_value_biases", on())[0].contains("bias of their values"));
    assert!(with("m/resid_post.1", "revision", json!("step1000"))[0].contains("of that checkpoint"));
    assert!(with("m/resid_post.1", "fold_everything", on())[0].contains("is not known"));
    for (key, value) in
        [("fold_ln", on()), ("dtype", json!("bfloat16")), ("center_unembed", on()), ("revision", Value::Null)]
    {
        assert!(with("m/resid_post.1", key, value).is_empty(), "{key}");
    }
    assert!(with("m/mlp_in.1", "fold_ln", Value::Bool(false)).is_empty());
}

#[test]
fn one_head_is_refused_with_the_reason() {
    let found = of("m/attn_z.1", "insist = [\"hookpoint\"]", Declared { head: Some(3), ..Declared::default() });
    one(&found, &["attention head 3 alone", "SAEs of one head are not read"]);
}

#[test]
fn a_transcoders_output_is_what_its_files_say() {
    let with = |output: &str| {
        let (input, output) = (Some(Place::known("x", Hookpoint::MlpIn(1))), Some(Place::named(output)));
        of("m/mlp_in.1", "", Declared { input, output, ..Declared::default() })
    };
    assert_eq!(with("blocks.1.hook_mlp_out").output, Some(Hookpoint::MlpOut(1)));
    let unknown = with("somewhere");
    assert!(unknown.output.is_none() && unknown.warnings[0].contains("as what it predicts"), "{unknown:?}");
}

#[test]
fn model_and_contexts_are_warned_of() {
    let with = |declared: Declared, corpus: &str| settled("m/resid_post.1", "", declared, None, true, corpus).warnings;
    let none = Declared::default;
    for same in ["gpt2", "gpt2-small", "openai-community/gpt2", "GPT2"] {
        assert!(with(Declared { model: Some(same.into()), ..none() }, "").is_empty(), "{same}");
    }
    let words = |warnings: Vec<String>, words: &[&str]| {
        let [what] = warnings.as_slice() else { panic!("{warnings:?}") };
        assert!(words.iter().all(|word| what.contains(word)), "{what}");
    };
    words(
        with(Declared { model: Some("gpt2-medium".into()), ..none() }, ""),
        &["\"gpt2-medium\"", "openai-community/gpt2"],
    );
    words(with(Declared { context_size: Some(32), ..none() }, ""), &["contexts of 32 tokens", "is 64", "new to it"]);
    words(with(Declared { context_size: Some(128), ..none() }, ""), &["contexts of 128 tokens", "is 64"]);
    assert!(with(Declared { context_size: Some(64), ..none() }, "").is_empty());
    words(with(Declared { prepend_bos: Some(true), ..none() }, "bos = \"none\""), &["begin with BOS", "\"none\""]);
    words(with(Declared { prepend_bos: Some(false), ..none() }, ""), &["without BOS", "\"context\""]);
    words(
        with(Declared { prepend_bos: Some(true), ..none() }, "bos = \"document\""),
        &["begin with BOS", "\"document\""],
    );
    assert!(with(Declared { prepend_bos: Some(true), ..none() }, "").is_empty());
    words(
        with(Declared { excludes_special: Some(true), ..none() }, "count_special = true"),
        &["exclude_special_tokens"],
    );
    assert!(with(Declared { excludes_special: Some(true), ..none() }, "").is_empty());
    words(with(Declared { positions: Some("[5,null]".into()), ..none() }, ""), &["positions [5,null]"]);
}
