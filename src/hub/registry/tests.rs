//! The table against itself, and names that people write.

use super::*;

#[test]
fn the_table_has_what_its_head_promises_and_no_name_twice() {
    assert_eq!(version(), "sae-lens 6.54.12");
    let mut names: Vec<String> = all().map(|facts| facts.name).collect();
    assert_eq!((RELEASES.len(), names.len()), (170, 13_857));
    names.sort();
    assert!(names.windows(2).all(|w| w[0] != w[1]));
    assert_eq!(all().filter(|f| f.scale.is_some()).count(), 304);
    assert_eq!(all().filter(|f| f.neuronpedia.is_some()).count(), 2441);
    assert!(all().all(|f| f.scale.is_none_or(|s| s.is_finite() && s > 0.0)));
}

#[test]
fn a_release_and_id_lead_to_repository_scale_and_neuronpedia() {
    let found = facts("sae_lens:gpt2-small-mlp-tm/blocks.0.hook_mlp_out").unwrap();
    assert_eq!(found.repository, "tommmcgrath/gpt2-small-mlp-out-saes");
    assert_eq!(found.path, "sae_group_gpt2_blocks.0.hook_mlp_out_24576:v1");
    assert_eq!((found.scale, found.hook.as_deref()), (Some(1.049317316132615), Some("blocks.0.hook_mlp_out")));
    assert_eq!(found.overrides["model_from_pretrained_kwargs"]["center_writing_weights"], true);

    let canonical = facts("sae_lens:gemma-scope-2b-pt-res-canonical/layer_0/width_16k/canonical").unwrap();
    assert_eq!(canonical.path, "layer_0/width_16k/average_l0_105");
    assert_eq!(canonical.neuronpedia.as_deref(), Some("gemma-2-2b/0-gemmascope-res-16k"));
    let reference = reference("gemma-scope-2b-pt-res-canonical/layer_0/width_16k/canonical").unwrap();
    assert_eq!(reference.to_string(), "hf:google/gemma-scope-2b-pt-res/layer_0/width_16k/average_l0_105");
}

#[test]
fn a_place_leads_to_the_same_facts_by_repository_cache_and_release() {
    // it is in a plain and a canonical release; only the second has a Neuronpedia id
    let by_place = facts("hf:google/gemma-scope-2b-pt-res/layer_0/width_16k/average_l0_105").unwrap();
    assert_eq!(by_place.neuronpedia.as_deref(), Some("gemma-2-2b/0-gemmascope-res-16k"));
    assert_eq!(by_place.hook.as_deref(), Some("blocks.0.hook_resid_post"));
    let cached = "/c/hub/models--google--gemma-scope-2b-pt-res/snapshots/0123/layer_0/width_16k/average_l0_105";
    assert_eq!(facts(cached), Some(by_place));
    // both have one: the canonical
    let million = facts("hf:google/gemma-scope-2b-pt-res/layer_5/width_1m/average_l0_114").unwrap();
    assert_eq!(million.neuronpedia.as_deref(), Some("gemma-2-2b/5-gemmascope-res-1m"));
    for unknown in
        ["hf:google/gemma-scope-2b-pt-res/layer_0/width_16k/average_l0_1", "hf:nobody/nothing", "data/demo/saes"]
    {
        assert_eq!(facts(unknown), None, "{unknown}");
    }
}

#[test]
fn an_error_of_the_registry_is_mended() {
    let embedding = facts("sae_lens:pythia-70m-deduped-res-sm/blocks.0.hook_resid_pre").unwrap();
    assert_eq!(
        (embedding.path.as_str(), embedding.neuronpedia.as_deref()),
        ("e-res-sm", Some("pythia-70m-deduped/e-res-sm"))
    );
}

#[test]
fn what_is_not_there_is_answered_with_what_is_near() {
    for (name, words) in [
        ("gpt2-small-res-bj/blocks.1.hook_resid_pre", ["no release \"gpt2-small-res-bj\"", "gpt2-small-res-jb"]),
        (
            "gpt2-small-res-jb/blocks.1.hook_resid_pos",
            ["no SAE \"blocks.1.hook_resid_pos\"", "blocks.1.hook_resid_pre"],
        ),
        ("gpt2-small-res-jb", ["no SAE \"\"", "sae_lens:RELEASE/SAE_ID"]),
        ("mwhanna-qwen3-4b-transcoders/layer_3", ["is not read", "mwhanna_transcoder"]),
    ] {
        let told = reference(name).unwrap_err();
        assert_eq!(told.kind(), crate::error::ErrorKind::Request);
        assert!(words.iter().all(|word| told.to_string().contains(word)), "{name}: {told}");
    }
}
