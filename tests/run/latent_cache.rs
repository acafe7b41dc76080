//! `cognate export --delphi`: the cache holds exactly the firings that the model and the SAE give by themselves.

use crate::bench_rig::{cognate, matches, project, run, small_demo};
use safetensors::SafeTensors;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Output;

const PLACES: [(&str, &str, &str); 2] =
    [("small-a", "resid_post.2", "layers.2"), ("small-b", "resid_post.3", "layers.3")];

/// A run of one pair in `folder`.
fn small_run(folder: &Path) -> PathBuf {
    let other = "[saes.\"small-a/resid_post.1\"]\npath = \"data/demo/saes/small-a/layers.1\"\n";
    let out = folder.join("run");
    run(&small_demo(folder, &[(other, "")]), &out, &["--quiet"]);
    out
}

fn export(run: &Path, out: &Path, more: &[&str]) -> Output {
    cognate().arg("export").arg(run).arg("--delphi").arg(out).args(more).output().unwrap()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Dense latents `[n_sequences][length][d_sae]` of the same tokens by `activations` and `encode`, which know no run.
fn by_hand(folder: &Path, tokens: &Path, (model, hookpoint, sae): (&str, &str, &str)) -> (Vec<f32>, usize) {
    let demo = project().join("data/demo");
    let (held, latents) = (folder.join("held"), folder.join("latents"));
    let mut command = cognate();
    command.arg("activations").arg("--model").arg(demo.join("models").join(model)).arg("--tokens").arg(tokens);
    assert!(command.args(["--hookpoints", hookpoint]).arg("--out").arg(&held).status().unwrap().success());
    let mut command = cognate();
    command.arg("encode").arg("--sae").arg(demo.join("saes").join(model).join(sae)).arg("--input").arg(&held);
    assert!(command.arg("--out").arg(&latents).status().unwrap().success());
    let bytes = std::fs::read(latents).unwrap();
    let read = SafeTensors::deserialize(&bytes).unwrap();
    let found = read.tensor("latents").unwrap();
    (floats(found.data()), *found.shape().last().unwrap())
}

#[test]
fn holds_every_firing_of_the_kept_latents_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (run, out) = (small_run(folder.path()), folder.path().join("cache"));
    let said = export(&run, &out, &["--contexts", "20"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert!(String::from_utf8_lossy(&said.stdout).starts_with("20 of "), "{said:?}");
    let rows: Vec<_> = matches(&run).into_iter().filter(|m| m.kept).collect();
    let mut contexts = Vec::new();
    for (place, kept) in PLACES.into_iter().zip([
        rows.iter().filter_map(|m| m.source_latent).collect::<BTreeSet<u32>>(),
        rows.iter().filter_map(|m| m.target_latent).collect(),
    ]) {
        let cache = out.join(place.0).join("latents").join(place.1);
        let about: serde_json::Value =
            serde_json::from_slice(&std::fs::read(cache.join("config.json")).unwrap()).unwrap();
        assert_eq!(
            (&about["n_tokens"], &about["ctx_len"], &about["cache_ctx_len"]),
            (&1280.into(), &64.into(), &64.into())
        );
        // names give the latents of a split, without gap or overlap
        let mut found: BTreeMap<(usize, usize, u32), u16> = BTreeMap::new();
        let (mut files, mut tokens) = (BTreeMap::new(), Vec::new());
        for file in std::fs::read_dir(&cache)
            .unwrap()
            .map(|f| f.unwrap().path())
            .filter(|f| f.extension().unwrap() == "safetensors")
        {
            let (first, last) = file.file_stem().unwrap().to_str().unwrap().split_once('_').unwrap();
            let (first, last): (u32, u32) = (first.parse().unwrap(), last.parse().unwrap());
            files.insert(first, last);
            let bytes = std::fs::read(&file).unwrap();
            let read = SafeTensors::deserialize(&bytes).unwrap();
            tokens = read.tensor("tokens").unwrap().data().to_vec();
            let locations: Vec<u16> = (read.tensor("locations").unwrap().data().chunks_exact(2))
                .map(|b| u16::from_le_bytes(b.try_into().unwrap()))
                .collect();
            let activations = read.tensor("activations").unwrap().data().to_vec();
            for (at, value) in locations.chunks_exact(3).zip(activations.chunks_exact(2)) {
                let latent = first + u32::from(at[2]);
                assert!((first..=last).contains(&latent) && kept.contains(&latent), "{latent} in {}", file.display());
                let new =
                    found.insert((at[0].into(), at[1].into(), latent), u16::from_le_bytes(value.try_into().unwrap()));
                assert!(new.is_none(), "{at:?} twice");
            }
        }
        let mut next = 0;
        assert!(
            files.iter().all(|(&first, &last)| std::mem::replace(&mut next, last + 1) == first) && next == 1024,
            "{files:?}"
        );

        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::I64, vec![20, 64], &tokens).unwrap();
        let ids = folder.path().join("ids");
        std::fs::write(&ids, safetensors::serialize([("input_ids", view)], None).unwrap()).unwrap();
        let (dense, d_sae) = by_hand(folder.path(), &ids, place);
        let mut expected = BTreeMap::new();
        for (n, row) in dense.chunks_exact(d_sae).enumerate().filter(|(n, _)| n % 64 != 0) {
            // position 0 is BOS, which the run does not count
            for &latent in kept.iter().filter(|&&l| row[l as usize].abs() > 1e-5) {
                expected.insert((n / 64, n % 64, latent), row[latent as usize]);
            }
        }
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        assert!(found.len() > 1000, "{}", found.len());
        for (at, &bits) in &found {
            let (value, expected) = (half_to_f32(bits), expected[at]);
            // F16 has 11 digits
            assert!((value - expected).abs() <= expected.abs() / 2048.0, "{at:?}: {value}, expected {expected}");
        }
        contexts.push(tokens);
    }
    assert_eq!(contexts[0], contexts[1], "models of one tokenizer have the same contexts");

    // what is there is not mixed with more
    let again = export(&run, &out, &[]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(again.status.code(), Some(2), "{said}");
    assert!(said.contains("is there already") && said.contains("small-a"), "{said}");
}

/// A normal number, as all of these are (1e-5 is not, and rounds well enough for the tolerance to tell).
fn half_to_f32(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let size =
        if exponent == 0 { fraction * 2f32.powi(-24) } else { (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15) };
    if bits >> 15 == 1 { -size } else { size }
}

#[test]
fn a_run_whose_sae_has_changed_or_that_keeps_nothing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = [("min_correlation = 0.1", "min_correlation = 0.9999999")];
    let out = folder.path().join("none");
    run(&small_demo(folder.path(), &nothing), &out, &["--quiet", "--max-tokens", "2000"]);
    let said = export(&out, &folder.path().join("cache"), &[]);
    assert_eq!(said.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&said.stderr).contains("no kept match"), "{said:?}");
    assert!(!folder.path().join("cache").exists());

    let sae = folder.path().join("sae");
    std::fs::create_dir(&sae).unwrap();
    let demo = project().join("data/demo/saes");
    for file in ["cfg.json", "sae.safetensors"] {
        std::fs::copy(demo.join("small-a/layers.1").join(file), sae.join(file)).unwrap();
    }
    let out = folder.path().join("changed");
    let flow = small_demo(folder.path(), &[("data/demo/saes/small-a/layers.1", sae.to_str().unwrap())]);
    run(&flow, &out, &["--quiet", "--max-tokens", "2000"]);
    std::fs::copy(demo.join("small-a/layers.2/sae.safetensors"), sae.join("sae.safetensors")).unwrap();
    let said = export(&out, &folder.path().join("cache"), &[]);
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(4), "{text}");
    assert!(text.contains("has changed since (saes.\"small-a/resid_post.1\" sae.safetensors)"), "{text}");
}
