//! Models whose activations or latents lie in files, where rows are text: a row of the files is a token of the model's own tokenizer, and is pooled as
//! that of a model that runs here.

use crate::bench_rig::{fixture, run, same_tables, tables};
use crate::crosstok::{alignment, flow};
use crate::kill::kill_after;
use crate::stored::{Dump, found, refused, write_table};
use cognate::linalg::Matrix;
use cognate::sae::Encode;
use std::path::{Path, PathBuf};

/// Two tokenizers; a pair of SAEs and one with a place as it is.
fn two(folder: &Path, compare: &str) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let path = flow(folder, ["L", "N"], "", compare, "snapshot_every = 3000\n[checkpoint]\nevery = 2000");
    let pair = "[\"A/layers.1\", \"B/layers.1\"]";
    change(&path, &[(&format!("pairs = [{pair}]"), &format!("pairs = [{pair}, [\"A/layers.0\", \"B/layers.1\"]]"))]);
    path
}

fn change(flow: &Path, replace: &[(&str, &str)]) {
    let mut text = std::fs::read_to_string(flow).unwrap();
    for (old, new) in replace {
        assert!(text.contains(old), "no {old:?} in {text}");
        text = text.replace(old, new);
    }
    std::fs::write(flow, text).unwrap();
}

/// Gives A its activations out of files, and B its latents.
fn in_files(flow: &Path, places: &[(&str, String)], table: &Path) {
    let set = fixture("crosstok");
    let set = set.display();
    let files: Vec<String> = places.iter().map(|(place, pattern)| format!("{place:?} = {pattern:?}")).collect();
    let a = format!("tokenizer = \"{set}/model_L\"\nfiles = {{ {} }}\n", files.join(", "));
    let b = format!("tokenizer = \"{set}/model_N\"\nfiles = {{}}\n");
    let latents = format!("stored = {{ path = {table:?}, d_sae = {} }}\n", d_sae());
    change(
        flow,
        &[
            (&format!("path = \"{set}/model_L\"\n"), &a),
            (&format!("path = \"{set}/model_N\"\n"), &b),
            (&format!("path = \"{set}/sae_model_N/layers.1\"\n"), &latents),
        ],
    );
}

fn sae() -> cognate::sae::Sae {
    cognate::sae::open(&fixture("crosstok").join("sae_model_N/layers.1"), None).unwrap()
}

fn d_sae() -> usize {
    sae().shape().d_sae
}

/// The latents of B's SAE on each of its tokens: (token, latent, value).
fn entries(flow: &Path) -> Vec<(u64, u32, f32)> {
    let dump = Dump::of_model(flow, "B", &["resid_post.1"]);
    let (_, width, rows) = &dump.places[0];
    let latents = sae().encode(&Matrix::from_vec(dump.ids.len(), *width, rows.clone()), Encode::Sparse).unwrap();
    let of_token = |token: usize| {
        let (fired, values) = latents.row(token);
        fired.iter().zip(values).map(|(latent, value)| (token as u64, *latent, *value)).collect::<Vec<_>>()
    };
    (0..dump.ids.len()).flat_map(of_token).collect()
}

#[test]
fn tokens_in_files_give_the_rows_of_text_of_the_models_that_run_here() {
    let folder = tempfile::tempdir().unwrap();
    let mut pooled = 0;
    for (k, compare) in [
        "align = \"span\"",
        "align = \"span\"\nspan_contexts = \"own\"\npool = { latents = \"mean\", activations = \"mean\" }",
        "unit = \"word\"",
        "unit = \"sentence\"\nspan_contexts = \"own\"",
        "unit = \"document\"\npool = { latents = \"sum\" }",
    ]
    .into_iter()
    .enumerate()
    {
        let own = folder.path().join(k.to_string());
        let path = |name: &str| own.join(name);
        let flow = two(&own, compare);
        run(&flow, &path("here"), &["--quiet"]);
        let said = alignment(&path("here"));
        // what is read by number of row would be that of another token
        assert!(said[0].tokens != said[1].tokens && said[0].rows < said[0].tokens.min(said[1].tokens), "{said:?}");
        pooled += said[0].tokens - said[0].rows;
        let dump = Dump::of_model(&flow, "A", &["resid_post.0", "resid_post.1"]);
        assert_eq!(dump.ids.len() as u64, said[0].tokens, "{compare}");
        let places = [0, 1].map(|k| (dump.places[k].0.as_str(), dump.write(&own, k, &[2000, 1, 0, 3333], true)));
        write_table(&path("b.parquet"), &entries(&flow));
        in_files(&flow, &places, &path("b.parquet"));
        run(&flow, &path("files"), &["--quiet"]);
        assert!(
            found(&path("here")) == found(&path("files")),
            "{compare}: the files' numbers differ from the forward's"
        );
        assert_eq!(alignment(&path("here")), alignment(&path("files")), "{compare}");
        if k % 2 == 1 {
            let expected = tables(&path("files"));
            run(&flow, &path("three"), &["--quiet", "--workers", "3"]);
            same_tables(&expected, &path("three"), &format!("{compare}, three workers"));
            kill_after(&flow, &path("killed"), 1);
            run(&flow, &path("killed"), &["--quiet", "--workers", "2"]);
            same_tables(&expected, &path("killed"), &format!("{compare}, killed"));
        }
    }
    println!("{pooled} tokens that share a row with others");
}

#[test]
fn files_of_other_tokens_end_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let dump = {
        let flow = two(folder.path(), "align = \"span\"");
        write_table(&folder.path().join("b.parquet"), &entries(&flow));
        Dump::of_model(&flow, "A", &["resid_post.0", "resid_post.1"])
    };
    let told = |name: &str, dump: &Dump, words: &[&str]| {
        let own = folder.path().join(name);
        let flow = two(&own, "align = \"span\"");
        let places = [0, 1].map(|k| (dump.places[k].0.as_str(), dump.write(&own, k, &[4000], true)));
        in_files(&flow, &places, &folder.path().join("b.parquet"));
        refused(&flow, &own.join("out"), 3, words);
    };
    let copy = || Dump { ids: dump.ids.clone(), places: dump.places.clone() };
    let mut other = copy();
    other.ids[6001] += 1;
    told("other", &other, &["001.safetensors: row 2001 is of token", "and the corpus has token", "document"]);
    let mut broken = copy();
    let width = broken.places[1].1;
    broken.places[1].2[6001 * width + 3] = f32::NAN;
    told("broken", &broken, &["001.safetensors: activation NaN of feature 3 in row 2001 is not finite", "document"]);
    // files of the rows, of which there are fewer
    let mut short = copy();
    short.ids.truncate(9067);
    short.places.iter_mut().for_each(|place| place.2.truncate(9067 * place.1));
    told("short", &short, &["they hold 9067 rows together, and the corpus has more"]);
}
