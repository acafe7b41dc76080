//! Names by family: what is written reads back, aliases mean what their libraries mean, the rest is refused by name.

use super::resolve::families;
use super::*;

#[test]
fn the_written_form_reads_back() {
    let alone = ["token_embed", "embed", "final_norm"].map(String::from);
    let in_block = [
        "resid_pre",
        "attn_in",
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_z",
        "attn_out",
        "attn_out_normed",
        "resid_mid",
        "mlp_in",
        "mlp_pre",
        "mlp_up",
        "mlp_gate_act",
        "mlp_act",
        "mlp_out",
        "mlp_out_normed",
        "resid_post",
    ];
    let written: Vec<String> = Hookpoint::all(2).map(|place| place.to_string()).collect();
    let blocks = (0..2).flat_map(|l| in_block.map(|name| format!("{name}.{l}")));
    assert_eq!(written, alone.iter().cloned().chain(blocks).collect::<Vec<_>>());
    for text in alone.into_iter().chain(in_block.iter().flat_map(|name| [format!("{name}.0"), format!("{name}.11")])) {
        let place: Hookpoint = text.parse().unwrap();
        assert_eq!(place.to_string(), text);
        assert_eq!(place.layer(), text.split_once('.').map(|(_, l)| l.parse().unwrap()));
        assert_eq!(place.twin().and_then(Hookpoint::twin), place.twin().map(|_| place));
        for family in families() {
            assert_eq!(resolve(&text, family).unwrap(), place, "{family}");
        }
    }
    assert_eq!(Hookpoint::MlpOut(3).twin(), Some(Hookpoint::MlpOutNormed(3)));
    assert_eq!(Hookpoint::ResidPost(3).shifted(-1), Some(Hookpoint::ResidPost(2)));
    assert_eq!(Hookpoint::ResidPost(0).shifted(-1), None);
    assert_eq!(Hookpoint::Embed.shifted(1), None);
    for bad in [
        "",
        "resid_post",
        "resid_post.",
        "resid_post.x",
        "layers",
        "blocks.1.hook_nothing",
        "resid_post.-1",
        "resid_post.+1",
    ] {
        assert!(bad.parse::<Hookpoint>().is_err() && bad.parse::<HookName>().is_err(), "{bad}");
    }
}

#[test]
fn names_are_read_by_family() {
    for (text, family, plain) in [
        ("blocks.7.hook_resid_post", "gpt2", "resid_post.7"),
        ("blocks.7.attn.hook_z", "gemma2", "attn_z.7"),
        ("blocks.0.hook_mlp_in", "llama", "resid_mid.0"),
        ("blocks.0.hook_mlp_in", "gpt_neox", "resid_pre.0"),
        ("blocks.0.hook_mlp_in", "gpt_neox/sequential", "resid_mid.0"),
        ("blocks.1.hook_mlp_out", "gemma2", "mlp_out_normed.1"),
        ("blocks.1.hook_mlp_out", "gemma", "mlp_out.1"),
        ("blocks.1.hook_attn_out", "gemma3_text", "attn_out_normed.1"),
        ("blocks.1.mlp.hook_out", "gemma2", "mlp_out.1"),
        ("hook_embed", "gpt2", "token_embed"),
        ("hook_embed", "llama", "embed"),
        ("layers.3", "llama", "resid_post.3"),
        ("h.3.mlp", "gpt2", "mlp_out.3"),
        ("gpt_neox.layers.2.mlp.dense_4h_to_h", "gpt_neox", "mlp_out.2"),
        ("model.layers.9.mlp.down_proj.input", "qwen3", "mlp_act.9"),
        ("model.layers.3.post_attention_layernorm", "llama", "mlp_in.3"),
        ("model.layers.3.post_attention_layernorm", "gemma2", "attn_out_normed.3"),
        ("model.language_model.layers.3", "gemma3_text", "resid_post.3"),
        ("base_model.model.layers.3", "llama", "resid_post.3"),
        // an arrangement without names of its own has those of the family
        ("blocks.1.hook_mlp_out", "gemma2/another", "mlp_out_normed.1"),
        // norms behind attention and MLP
        ("blocks.1.ln1.hook_out", "opt/after", "mlp_in.1"),
        ("blocks.1.ln2.hook_out", "opt/after", "resid_post.1"),
    ] {
        assert_eq!(resolve(text, family).unwrap().to_string(), plain, "{text} in {family}");
        assert!(text.parse::<HookName>().is_ok(), "{text}");
    }
}

#[test]
fn what_no_family_or_not_this_one_means_is_refused_with_the_way_out() {
    for (text, family, words) in [
        ("blocks.3.ln2.hook_normalized", "llama", "two meanings"),
        ("blocks.3.ln2.hook_normalized", "gpt2", "write mlp_in.3 for what comes after its weight and bias"),
        ("ln_final.hook_normalized", "llama", "write final_norm"),
        ("blocks.3.ln1_post.hook_normalized", "gemma2", "write attn_out_normed.3"),
        ("blocks.3.ln2_post.hook_normalized", "gemma2", "write mlp_out_normed.3"),
        ("ln_final.hook_out", "opt/after", "it has no final norm"),
        ("blocks.3.ln1.hook_in", "opt/after", "no stream between attention and MLP"),
        ("blocks.3.hook_resid_mid", "gpt_neox", "no stream between attention and MLP"),
        ("blocks.3.mlp.hook_pre_linear", "gpt2", "its MLP has no gate"),
        ("blocks.3.ln1_post.hook_out", "llama", "no norms after attention and MLP"),
        ("gpt_neox.layers.3", "llama", "not known in family llama (it is a name of gpt_neox)"),
        ("transformer.h.3", "opt", "not known in family opt"),
        ("transformer.h.3.attn.c_attn", "gpt2", "that tensor is not read"),
        ("blocks.3.hook_resid_post", "nothing", "not known in family nothing"),
    ] {
        let error = resolve(text, family).unwrap_err().to_string();
        assert!(
            error.contains(words) && error.contains(text) && error.contains("write "),
            "{text} in {family}: {error}"
        );
    }
    // without a family only what all mean alike is read
    assert_eq!("blocks.7.hook_resid_post".parse::<Hookpoint>().unwrap(), Hookpoint::ResidPost(7));
    assert_eq!("layers.3.mlp".parse::<Hookpoint>().unwrap(), Hookpoint::MlpOut(3));
    let error = "blocks.7.hook_mlp_out".parse::<Hookpoint>().unwrap_err().to_string();
    assert!(error.contains("mlp_out.7 in gpt_neox and mlp_out_normed.7 in gemma2"), "{error}");
    assert!("blocks.3.ln2.hook_normalized".parse::<HookName>().unwrap_err().to_string().contains("two meanings"));
}

#[test]
fn a_site_is_a_model_and_a_name_of_its_family() {
    let site = |text: &str| text.parse::<SiteName>();
    let alias = site("m/blocks.7.hook_mlp_out").unwrap();
    assert!(!alias.hookpoint.is_plain() && alias.plain().is_none());
    assert_eq!(alias.resolve("gemma2").unwrap().to_string(), "m/mlp_out_normed.7");
    let plain = site("m/resid_post.7").unwrap();
    assert!(plain.hookpoint.is_plain());
    assert_eq!(plain.plain(), Some("m/resid_post.7".parse().unwrap()));
    // one of several SAEs
    let tagged = site("m/blocks.7.hook_mlp_out#seed-1.b").unwrap();
    assert_eq!(tagged.resolve("gemma2").unwrap().to_string(), "m/mlp_out_normed.7#seed-1.b");
    let tagged: Site = "m/resid_post.7#seed1".parse().unwrap();
    assert_eq!((tagged.place(), &Site::of("m", &tagged.place()).unwrap()), ("resid_post.7#seed1".into(), &tagged));
    assert!(tagged > "m/resid_post.7".parse().unwrap() && tagged < "m/resid_post.8".parse().unwrap());
    for bad in ["m/resid_post.7#", "m/resid_post.7#a/b", "m/resid_post.7#a#b", "m/resid_post.7#a b", "m/#a"] {
        assert!(site(bad).is_err() && bad.parse::<Site>().is_err(), "{bad}");
    }
    // an error names its site
    let error = alias.resolve("nothing").unwrap_err().to_string();
    assert!(error.contains("\"m/blocks.7.hook_mlp_out\""), "{error}");
    let error = "m/blocks.7.hook_mlp_out".parse::<Site>().unwrap_err().to_string();
    assert!(error.contains("\"m/blocks.7.hook_mlp_out\"") && error.contains("in gemma2"), "{error}");
    // the model's name ends at the first stroke
    for bad in ["resid_post.1", "owner/m/resid_post.1", "m/", "m/resid_post.x"] {
        assert!(site(bad).is_err() && bad.parse::<Site>().is_err(), "{bad}");
    }
}

/// Every name that is given for a place is read as that place.
#[test]
fn the_names_that_are_given_are_read_back() {
    for family in families() {
        for text in [
            "embed",
            "token_embed",
            "final_norm",
            "resid_pre.2",
            "resid_mid.2",
            "mlp_act.2",
            "mlp_pre.2",
            "mlp_out.2",
            "mlp_out_normed.2",
            "attn_q.2",
            "attn_z.2",
            "attn_out.2",
            "mlp_in.2",
            "resid_post.2",
            "mlp_gate_act.2",
        ] {
            let place: Hookpoint = text.parse().unwrap();
            let names = library_names(place, family);
            for name in [names.transformer_lens_3, names.transformer_lens_4, names.hugging_face].into_iter().flatten() {
                assert_eq!(resolve(&name, family).unwrap(), place, "{name} in {family}");
            }
        }
    }
    let names = library_names(Hookpoint::MlpOutNormed(1), "gemma2");
    assert_eq!(names.transformer_lens_3.as_deref(), Some("blocks.1.hook_mlp_out"));
    assert_eq!(names.transformer_lens_4.as_deref(), Some("blocks.1.ln2_post.hook_out"));
    assert_eq!(names.hugging_face.as_deref(), Some("model.layers.1.post_feedforward_layernorm.output"));
    assert_eq!(library_names(Hookpoint::MlpGateAct(0), "llama").transformer_lens_3, None);
}
