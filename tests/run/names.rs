//! Places by other libraries' names: the same run to the last byte, and what the tables say of the names.

use crate::bench_rig::{cognate, latents, matches, run, same_tables, small_demo, tables};
use cognate::table::{LatentRow, MatchRow, TableReader};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

const SHORT: (&str, &str) = ("max_tokens = 12_000", "max_tokens = 4_000");
const PLAIN: [&str; 3] = ["\"small-a/resid_post.1\"", "\"small-a/resid_post.2\"", "\"small-b/resid_post.3\""];
const OTHERS: [&str; 3] =
    ["\"small-a/blocks.1.hook_out\"", "\"small-a/gpt_neox.layers.2\"", "\"small-b/blocks.3.hook_resid_post\""];

#[test]
fn a_run_is_the_same_whichever_library_names_its_places() {
    let [folder, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [out, out_of_other] = [&folder, &other].map(|f| f.path().join("run"));
    run(&small_demo(folder.path(), &[SHORT]), &out, &["--quiet"]);
    let replace: Vec<(&str, &str)> = PLAIN.into_iter().zip(OTHERS).chain([SHORT]).collect();
    let flow = small_demo(other.path(), &replace);
    run(&flow, &out_of_other, &["--quiet"]);
    let plain = tables(&out);
    same_tables(&plain, &out_of_other, "other libraries' names");

    let latents = TableReader::<LatentRow>::open(&out.join("tables/latents.parquet")).unwrap();
    let names: Value = serde_json::from_str(&latents.origin()["hookpoints"]).unwrap();
    let of_b = &names["small-b/resid_post.3"];
    assert_eq!(of_b["transformer_lens_3"], "blocks.3.hook_resid_post");
    assert_eq!(of_b["transformer_lens_4"], "blocks.3.hook_out");
    assert_eq!(of_b["hugging_face"], "gpt_neox.layers.3.output");

    // a command that reads the run's own dataflow file reads its names too
    let scored = other.path().join("scored");
    let score = cognate().arg("score").arg(&out_of_other).arg("--out").arg(&scored).output().unwrap();
    assert!(score.status.success(), "{}", String::from_utf8_lossy(&score.stderr));
    let report = cognate().arg("report").arg(&out_of_other).output().unwrap();
    assert!(report.status.success() && report.stderr.is_empty(), "{}", String::from_utf8_lossy(&report.stderr));
}

#[test]
fn two_spellings_of_one_place_are_refused_and_so_is_a_name_of_another_family() {
    let folder = tempfile::tempdir().unwrap();
    for (name, words) in [
        (
            "\"small-a/blocks.1.hook_out\"",
            "small-a/blocks.1.hook_out and small-a/resid_post.1, which are both small-a/resid_post.1",
        ),
        ("\"small-a/model.layers.2\"", "not known in family gpt_neox (it is a name of"),
        ("\"small-a/blocks.1.hook_resid_mid\"", "no stream between attention and MLP"),
        ("\"small-a/resid_mid.1\"", "take resid_pre.1 or resid_post.1"),
        ("\"small-a/blocks.1.ln2.hook_normalized\"", "write mlp_in.1 for what comes after its weight and bias"),
    ] {
        let flow = small_demo(folder.path(), &[SHORT, (PLAIN[1], name)]);
        let output = cognate().arg("plan").arg(&flow).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && error.contains(words), "{name}: {error}");
    }
}

#[test]
fn several_saes_of_one_hookpoint_share_a_forward_and_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let other_seed = "data/demo/saes/small-a-seed-502/layers.2";
    let no_b = ("[models.small-b]\npath = \"data/demo/models/small-b\"\n", "");
    let saes = [
        (PLAIN[0], "\"small-a/layers.2#seed-502\""),
        ("data/demo/saes/small-a/layers.1", other_seed),
        ("[saes.\"small-b/resid_post.3\"]\npath = \"data/demo/saes/small-b/layers.3\"\n", ""),
    ];
    let out = folder.path().join("tagged");
    let flow = small_demo(folder.path(), &[&saes[..], &[SHORT, no_b]].concat());
    run(&flow, &out, &["--quiet"]);
    let plan = cognate().arg("plan").arg(&flow).output().unwrap();
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert!(plan.contains("read at resid_post.2; ") && plan.contains("resid_post.2, resid_post.2#seed-502"), "{plan}");

    // as if it were a model of its own
    let twice = [
        (
            "[models.small-b]\npath = \"data/demo/models/small-b\"",
            "[models.small-z]\npath = \"data/demo/models/small-a\"",
        ),
        ("[saes.\"small-b/resid_post.3\"]\npath = \"data/demo/saes/small-b/layers.3\"\n", ""),
        (PLAIN[0], "\"small-z/resid_post.2\""),
        ("data/demo/saes/small-a/layers.1", other_seed),
    ];
    let apart = folder.path().join("apart");
    run(&small_demo(folder.path(), &[&twice[..], &[SHORT]].concat()), &apart, &["--quiet"]);
    let rows = |run: &Path| -> Vec<_> {
        let told = |m: MatchRow| {
            (m.direction, m.source_latent, m.target_latent, m.correlation.map(f64::to_bits), m.listed.jaccard)
        };
        matches(run).into_iter().map(told).collect()
    };
    assert!(rows(&out).len() > 1000 && rows(&out) == rows(&apart));
    let places: BTreeSet<String> = latents(&out).iter().map(|l| l.site.to_string()).collect();
    assert_eq!(places.into_iter().collect::<Vec<_>>(), ["small-a/resid_post.2", "small-a/resid_post.2#seed-502"]);

    let show = |args: &[&str]| {
        let output = cognate().arg("show").arg(&out).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let latent = matches(&out).iter().find_map(|m| m.target_latent).unwrap();
    assert!(show(&[&format!("small-a/resid_post.2#seed-502/{latent}")]).contains("resid_post.2"));
    for command in ["report", "score"] {
        let output = cognate().arg(command).arg(&out).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let no_sae = small_demo(
        folder.path(),
        &[
            SHORT,
            (PLAIN[1], "\"small-a/resid_post.2#b\""),
            (
                "pairs = \"all\"",
                "pairs = [[\"small-a/resid_post.1\", \"small-b/resid_post.3\"], [\"small-a/resid_post.2#c\", \"small-b/resid_post.3\"], [\"small-a/resid_post.2#b\", \"small-b/resid_post.3\"]]",
            ),
        ],
    );
    let refused = cognate().arg("plan").arg(&no_sae).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(2) && said.contains("there is no [saes.\"small-a/resid_post.2#c\"]"),
        "{said}"
    );
}

#[test]
fn neurons_are_compared_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let pair = "pairs = [[\"small-a/mlp_act.1\", \"small-b/blocks.3.mlp.hook_post\"], [\"small-a/attn_q.0\", \"small-b/attn_k.2\"]]";
    let mut replace = vec![SHORT, ("pairs = \"all\"", pair)];
    let saes = [
        ("resid_post.1", "small-a", "layers.1"),
        ("resid_post.2", "small-a", "layers.2"),
        ("resid_post.3", "small-b", "layers.3"),
    ];
    let tables: Vec<String> = saes
        .iter()
        .map(|(place, m, l)| format!("[saes.\"{m}/{place}\"]\npath = \"data/demo/saes/{m}/{l}\"\n"))
        .collect();
    replace.extend(tables.iter().map(|t| (t.as_str(), "")));
    let rows = "measures = [\"svcca_k10\", \"cka\"]\npairings = [\"forward\", \"backward\", \"mutual\"]";
    replace.push((rows, "measures = []"));
    replace.push(("permutations = 20, ", ""));
    let flow = small_demo(folder.path(), &replace);
    let out = folder.path().join("run");
    run(&flow, &out, &["--quiet"]);
    let rows = latents(&out);
    let n = |site: &str| rows.iter().filter(|r| r.site.to_string() == site).count();
    assert_eq!((n("small-a/mlp_act.1"), n("small-b/mlp_act.3")), (384, 320));
    assert_eq!((n("small-a/attn_q.0"), n("small-b/attn_k.2")), (128, 160));
}
