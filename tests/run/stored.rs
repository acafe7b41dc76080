//! Models whose activations lie in files: they give the tables of the model that runs here, whoever is killed; and files that are not of this corpus end
//! the run.

use crate::bench_rig::{cognate, latents, matches, run, same_tables, small_demo, tables};
use crate::kill::killed_and_taken_up;
use cognate::ids::Hookpoint;
use cognate::model::{Network, forward};
use cognate::plan::{Purpose, Request};
use cognate::spec::DataflowSpec;
use safetensors::tensor::{Dtype, TensorView};
use std::path::{Path, PathBuf};

/// Enough of the demo to compare numbers.
const SHORT: [(&str, &str); 2] =
    [("max_tokens = 12_000", "max_tokens = 1_500"), ("snapshot_every = 3_000", "snapshot_every = 500")];

/// What small-a holds at some places for each counted token of a corpus, in its order.
struct Dump {
    ids: Vec<u32>,
    /// By place: its name, its width and its rows.
    places: Vec<(String, usize, Vec<f32>)>,
}

impl Dump {
    /// By the library's own reader and forward, from the dataflow file `flow`.
    fn of(flow: &Path, places: &[&str]) -> Dump {
        let (spec, _) = DataflowSpec::read(flow).unwrap();
        let request = Request { spec, purpose: Purpose::Run, memory_limit: 8 << 30, known_cross: None };
        let plan = request.plan(|_| {}).unwrap();
        let at = plan.models().iter().position(|m| m.name == "small-a").unwrap();
        let hookpoints: Vec<Hookpoint> = places.iter().map(|place| place.parse().unwrap()).collect();
        let Network::Forward(model) = plan.models()[at].open(&hookpoints).unwrap() else { panic!("it runs here") };
        let mut corpus = plan.open_corpus(plan.spec().corpus.clone()).unwrap();
        let width = |h: &Hookpoint| plan.models()[at].shape.width(*h).unwrap();
        let mut dump = Dump {
            ids: Vec::new(),
            places: hookpoints.iter().map(|h| (h.to_string(), width(h), Vec::new())).collect(),
        };
        while let Some(batch) = corpus.next_batch().unwrap() {
            let view = &batch.views[0];
            dump.ids.extend(view.tokens().map(|(_, context, position)| view.contexts[context].ids[position]));
            let read = forward(model.as_ref(), &batch, view, &hookpoints).unwrap();
            dump.places.iter_mut().zip(read).for_each(|(place, read)| place.2.extend_from_slice(read.x.as_slice()));
        }
        dump
    }

    /// Writes the rows of place `k` into files of so many rows, the rest into a last one, beside their ids where that is asked for; gives
    /// back their pattern.
    fn write(&self, folder: &Path, k: usize, lengths: &[usize], with_ids: bool) -> String {
        let (name, width, rows) = &self.places[k];
        let own = folder.join(name);
        std::fs::create_dir_all(&own).unwrap();
        let mut first = 0;
        for (number, n) in lengths.iter().copied().chain([usize::MAX]).enumerate() {
            let end = first + n.min(self.ids.len() - first);
            let held: Vec<u8> = rows[first * width..end * width].iter().flat_map(|v| v.to_le_bytes()).collect();
            let ids: Vec<u8> = self.ids[first..end].iter().flat_map(|id| i64::from(*id).to_le_bytes()).collect();
            let mut tensors = vec![("acts", Dtype::F32, vec![end - first, *width], held)];
            if with_ids {
                tensors.push(("ids", Dtype::I64, vec![end - first], ids));
            }
            save(&own.join(format!("{number:03}.safetensors")), &tensors);
            first = end;
        }
        own.join("*.safetensors").display().to_string()
    }
}

fn save(path: &Path, tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)]) {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// The demo in short with small-a's activations in `files`: (place, pattern).
fn in_files(folder: &Path, files: &[(&str, &str)], replace: &[(&str, &str)]) -> PathBuf {
    let named: Vec<String> = files.iter().map(|(place, pattern)| format!("{place:?} = {pattern:?}")).collect();
    let files = format!("tokenizer = \"data/demo/models/small-a\"\nfiles = {{ {} }}\n", named.join(", "));
    let all = [&[("path = \"data/demo/models/small-a\"\n", files.as_str())], replace].concat();
    small_demo(folder, &all)
}

/// What a run says of latents and matches.
fn found(run: &Path) -> String {
    format!("{:?}\n{:?}", latents(run), matches(run))
}

fn refused(flow: &Path, out: &Path, code: i32, words: &[&str]) {
    let output = cognate().args(["run", "--quiet", "--out"]).arg(out).arg(flow).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    words.iter().for_each(|word| assert!(said.contains(word), "no {word:?} in: {said}"));
}

fn said(arguments: &[&str], path: &Path) -> String {
    let output = cognate().args(arguments).arg(path).output().unwrap();
    let both = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&both).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn activations_in_files_give_the_tables_of_the_model_that_runs_here() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // an SAE, and a place as it is
    let replace = [
        SHORT[0],
        SHORT[1],
        ("[saes.\"small-a/resid_post.1\"]\npath = \"data/demo/saes/small-a/layers.1\"\n", ""),
        (
            "pairs = \"all\"",
            "pairs = [[\"small-a/resid_post.2\", \"small-b/resid_post.3\"], [\"small-a/mlp_act.1\", \"small-b/resid_post.3\"]]",
        ),
    ];
    let flow = small_demo(folder.path(), &replace);
    run(&flow, &path("here"), &["--quiet"]);
    let here = found(&path("here"));
    let dump = Dump::of(&flow, &["resid_post.2", "mlp_act.1"]);
    // cut anywhere: inside batches, an empty one, one of a row
    let [stream, inner] = [&[700, 0, 1, 300][..], &[13]];
    let [stream, inner] = [dump.write(folder.path(), 0, stream, true), dump.write(folder.path(), 1, inner, false)];
    // another library's name for the place
    let flow = in_files(folder.path(), &[("gpt_neox.layers.2", &stream), ("mlp_act.1", &inner)], &replace);
    let output = run(&flow, &path("files"), &["--quiet"]);
    assert!(here == found(&path("files")), "the forward's numbers differ from the files'");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("small-a") && told.contains("do not all hold ids"), "{told}");
    let expected = tables(&path("files"));
    run(&flow, &path("three"), &["--quiet", "--workers", "3"]);
    same_tables(&expected, &path("three"), "three workers");
    let plan = said(&["plan"], &flow);
    let words = ["7 files", "without ids", "pieces of files"];
    words.iter().for_each(|word| assert!(plan.contains(word), "no {word:?} in {plan}"));
    assert!(said(&["doctor", "--tokens", "200"], &flow).contains("small-a/resid_post.2"));

    // other rows are another run
    let mut other = Dump { ids: dump.ids.clone(), places: dump.places.clone() };
    other.places[0].2[0] += 1.0;
    other.write(folder.path(), 0, &[700, 0, 1, 300], true);
    refused(&flow, &path("files"), 4, &["models.small-a files of resid_post.2"]);
    // what is read of sums needs no files
    std::fs::remove_dir_all(path("resid_post.2")).unwrap();
    said(&["score", "--set", "estimate.filters.mutual=true"], &path("files"));
    assert!(said(&["plan"], &flow).contains("files of its activations are not here"));
    refused(&flow, &path("new"), 2, &["models.small-a.files.\"resid_post.2\"", "matches no file"]);
}

#[test]
fn a_run_over_files_killed_at_random_moments_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let dump = Dump::of(&small_demo(folder.path(), &[]), &["resid_post.1", "resid_post.2"]);
    let [one, two] = [0, 1].map(|k| dump.write(folder.path(), k, &[1000, 5000, 17], true));
    killed_and_taken_up(
        folder.path(),
        &in_files(folder.path(), &[("resid_post.1", &one), ("resid_post.2", &two)], &[]),
        4,
    );
}

#[test]
fn files_that_are_not_of_this_corpus_end_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let replace =
        [SHORT[0], SHORT[1], ("[saes.\"small-a/resid_post.1\"]\npath = \"data/demo/saes/small-a/layers.1\"\n", "")];
    let whole = Dump::of(&small_demo(folder.path(), &replace), &["resid_post.2"]);
    let copy = || Dump { ids: whole.ids.clone(), places: whole.places.clone() };
    let mut number = 0;
    let mut told = |dump: &Dump, code: i32, words: &[&str]| {
        number += 1;
        let own = folder.path().join(number.to_string());
        let pattern = dump.write(&own, 0, &[600], true);
        refused(&in_files(folder.path(), &[("resid_post.2", &pattern)], &replace), &own.join("out"), code, words);
    };
    let mut other = copy();
    other.ids[805] = 7;
    let words =
        ["001.safetensors: row 205 is of token 7", "and the corpus has token", "row 805 of the corpus: document"];
    told(&other, 3, &words);
    let mut short = copy();
    short.ids.truncate(900);
    short.places[0].2.truncate(900 * 128);
    told(&short, 3, &["2 files of resid_post.2 end with row 300 of", "001.safetensors: they hold 900 rows together"]);
    let mut broken = copy();
    broken.places[0].2[700 * 128 + 5] = f32::INFINITY;
    told(&broken, 3, &["001.safetensors: activation inf of feature 5 in row 100 is not finite"]);
    let mut narrow = copy();
    narrow.places[0] = ("resid_post.2".into(), 64, vec![0.5; whole.ids.len() * 64]);
    told(&narrow, 2, &["is 64 wide, resid_post.2 is 128 wide"]);

    // of another type
    let file = folder.path().join("f64.safetensors");
    save(&file, &[("acts", Dtype::F64, vec![1, 128], vec![0; 8 * 128])]);
    let of = |more: &[(&str, &str)]| {
        in_files(folder.path(), &[("resid_post.2", file.to_str().unwrap())], &[&replace[..], more].concat())
    };
    refused(&of(&[]), &folder.path().join("out"), 2 + 1, &["f64.safetensors: tensor \"acts\" is of F64, expected F32"]);
    // what cannot be in files
    let out = folder.path().join("never");
    refused(
        &of(&[("pairs = \"all\"", "pairs = \"all\"\nalign = \"span\"")]),
        &out,
        2,
        &["models.small-a: files hold a row"],
    );
    let shuffled = ("context_length = 64", "context_length = 64\nshuffle = \"tokens\"");
    refused(&of(&[shuffled]), &out, 2, &["models.small-a", "take shuffle out"]);
    let control = ("[checkpoint]", "[controls.x]\nrandom_weights = 1\n[checkpoint]");
    refused(&of(&[control]), &out, 2, &["models.small-a does not run here"]);
    let elsewhere = in_files(folder.path(), &[("resid_post.1", "x.safetensors")], &replace);
    refused(&elsewhere, &out, 2, &["models.small-a.files: resid_post.1 is read by no pair"]);
    let twice = [("resid_post.2", "x.safetensors"), ("gpt_neox.layers.2", "x.safetensors")];
    refused(&in_files(folder.path(), &twice, &replace), &out, 2, &["are both resid_post.2"]);
}
