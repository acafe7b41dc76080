//! Models whose activations lie in files: they give the tables of the model that runs here, whichever process is
//! killed; and files that are not of this corpus end the run.

use crate::bench_rig::{WITHOUT_LAYER_1, cognate, latents, matches, project, run, same_tables, small_demo, tables};
use crate::kill::{kill_after, killed_and_taken_up};
use arrow::array::{ArrayRef, Float32Array, ListBuilder, RecordBatch, UInt32Array, UInt32Builder, UInt64Array};
use cognate::ids::Hookpoint;
use cognate::model::{Network, forward};
use cognate::plan::{Purpose, Request};
use cognate::sae::Encode;
use cognate::spec::DataflowSpec;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use safetensors::tensor::{Dtype, TensorView};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Enough of the demo to compare numbers.
pub const SHORT: [(&str, &str); 2] =
    [("max_tokens = 12_000", "max_tokens = 1_500"), ("snapshot_every = 3_000", "snapshot_every = 500")];

/// What a model holds at some places for each counted token of a corpus, in its order.
pub struct Dump {
    pub ids: Vec<u32>,
    /// By place: its name, its width and its rows.
    pub places: Vec<(String, usize, Vec<f32>)>,
}

impl Dump {
    /// Of small-a.
    pub fn of(flow: &Path, places: &[&str]) -> Dump {
        Dump::of_model(flow, "small-a", places)
    }

    /// By the library's own reader and forward, from the dataflow file `flow`.
    pub fn of_model(flow: &Path, model: &str, places: &[&str]) -> Dump {
        let (spec, _) = DataflowSpec::read(flow).unwrap();
        let request = Request { spec, purpose: Purpose::Run, memory_limit: 8 << 30, known_cross: None };
        let plan = request.plan(|_| {}).unwrap();
        let at = plan.models().iter().position(|m| m.name == model).unwrap();
        let hookpoints: Vec<Hookpoint> = places.iter().map(|place| place.parse().unwrap()).collect();
        let Network::Forward(model) = plan.models()[at].open(&hookpoints).unwrap() else { panic!("it runs here") };
        let mut corpus = plan.open_corpus(plan.spec().corpus.clone()).unwrap();
        let width = |h: &Hookpoint| plan.models()[at].shape.width(*h).unwrap();
        let mut dump = Dump {
            ids: Vec::new(),
            places: hookpoints.iter().map(|h| (h.to_string(), width(h), Vec::new())).collect(),
        };
        while let Some(batch) = corpus.next_batch().unwrap() {
            let view = &batch.views[plan.models()[at].view];
            dump.ids.extend(view.tokens().map(|(_, context, position)| view.contexts[context].ids[position]));
            let read = forward(model[0].as_ref(), &batch, view, &hookpoints, &[]).unwrap();
            dump.places.iter_mut().zip(read).for_each(|(place, read)| place.2.extend_from_slice(read.x.as_slice()));
        }
        dump
    }

    /// Writes the rows of place `k` into files of so many rows, the rest into a last one, beside their ids where that is asked for; gives
    /// back their pattern.
    pub fn write(&self, folder: &Path, k: usize, lengths: &[usize], with_ids: bool) -> String {
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
pub fn in_files(folder: &Path, files: &[(&str, &str)], replace: &[(&str, &str)]) -> PathBuf {
    let named: Vec<String> = files.iter().map(|(place, pattern)| format!("{place:?} = {pattern:?}")).collect();
    let files = format!("tokenizer = \"data/demo/models/small-a\"\nfiles = {{ {} }}\n", named.join(", "));
    let all = [&[("path = \"data/demo/models/small-a\"\n", files.as_str())], replace].concat();
    small_demo(folder, &all)
}

/// What a run finds of latents and matches.
pub fn found(run: &Path) -> String {
    let (latents, matches) = (latents(run), matches(run));
    let compared = matches.iter().filter(|m| m.correlation.is_some()).count();
    assert!(latents.iter().any(|l| l.alive) && compared > 10, "there is something to compare: {compared}");
    format!("{latents:?}\n{matches:?}")
}

pub fn refused(flow: &Path, out: &Path, code: i32, words: &[&str]) {
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
        WITHOUT_LAYER_1,
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
    let replace = [SHORT[0], SHORT[1], WITHOUT_LAYER_1];
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
    let shuffled = ("context_length = 64", "context_length = 64\nshuffle = \"tokens\"");
    refused(&of(&[shuffled]), &out, 2, &["models.small-a", "take shuffle out"]);
    let control = ("[checkpoint]", "[controls.x]\nrandom_weights = 1\n[checkpoint]");
    refused(&of(&[control]), &out, 2, &["models.small-a does not run here"]);
    let elsewhere = in_files(folder.path(), &[("resid_post.1", "x.safetensors")], &replace);
    refused(
        &elsewhere,
        &out,
        2,
        &["models.small-a.files: no activations are read at resid_post.1: no pair compares it"],
    );
    let twice = [("resid_post.2", "x.safetensors"), ("gpt_neox.layers.2", "x.safetensors")];
    refused(&in_files(folder.path(), &twice, &replace), &out, 2, &["are both resid_post.2"]);
}

/// A latent cache of an SAE over every context of a corpus.
struct Cache {
    /// All of one length.
    sequences: Vec<Vec<u32>>,
    /// By sequence, position and latent.
    firings: Vec<(u32, u32, u32, f32)>,
    /// Of each firing.
    rows: Vec<u64>,
}

impl Cache {
    /// Of the SAE behind block `layer` of small-a, over the corpus of `flow`, whose contexts are all full.
    fn of(flow: &Path, layer: usize) -> Cache {
        let (spec, _) = DataflowSpec::read(flow).unwrap();
        let request = Request { spec, purpose: Purpose::Run, memory_limit: 8 << 30, known_cross: None };
        let plan = request.plan(|_| {}).unwrap();
        let hookpoints = [Hookpoint::ResidPost(layer)];
        let at = plan.models().iter().position(|m| m.name == "small-a").unwrap();
        let Network::Forward(model) = plan.models()[at].open(&hookpoints).unwrap() else { panic!("it runs here") };
        let sae = cognate::sae::open(&project().join(format!("data/demo/saes/small-a/layers.{layer}")), None).unwrap();
        let mut corpus = plan.open_corpus(plan.spec().corpus.clone()).unwrap();
        let mut cache = Cache { sequences: Vec::new(), firings: Vec::new(), rows: Vec::new() };
        while let Some(batch) = corpus.next_batch().unwrap() {
            let view = &batch.views[0];
            let read = forward(model[0].as_ref(), &batch, view, &hookpoints, &[]).unwrap();
            let latents = sae.encode(&read[0].x, Encode::Sparse).unwrap();
            for (token, (_, context, position)) in view.tokens().enumerate() {
                let sequence = (cache.sequences.len() + context) as u32;
                let (fired, values) = latents.row(token);
                let of_token =
                    fired.iter().zip(values).map(|(latent, value)| (sequence, position as u32, *latent, *value));
                cache.firings.extend(of_token);
                cache.rows.resize(cache.firings.len(), batch.first_row + token as u64);
            }
            cache.sequences.extend(view.contexts.iter().map(|context| context.ids.clone()));
        }
        cache
    }

    /// Writes it as five splits of 1024 latents, with activations in f32.
    fn write(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        for k in 0..5u32 {
            let (first, last) = (1024 * k / 5, 1024 * (k + 1) / 5 - 1);
            let own: Vec<_> = self.firings.iter().filter(|f| (first..=last).contains(&f.2)).collect();
            let places = own.iter().flat_map(|f| [f.0, f.1, f.2 - first]).flat_map(|n| (n as u16).to_le_bytes());
            let tokens = self.sequences.iter().flatten().flat_map(|id| i64::from(*id).to_le_bytes());
            let tensors = [
                ("locations", Dtype::U16, vec![own.len(), 3], places.collect()),
                ("activations", Dtype::F32, vec![own.len()], own.iter().flat_map(|f| f.3.to_le_bytes()).collect()),
                ("tokens", Dtype::I64, vec![self.sequences.len(), self.sequences[0].len()], tokens.collect()),
            ];
            save(&folder.join(format!("{first}_{last}.safetensors")), &tensors);
        }
        // what else lies there
        std::fs::write(folder.join("config.json"), "{}").unwrap();
    }
}

/// Writes entries of a cache as Parquet.
fn write_entries(path: &Path, cache: &Cache, entries: std::ops::Range<usize>) {
    let of_rows = cache.rows[entries.clone()].iter().zip(&cache.firings[entries]);
    write_table(path, &of_rows.map(|(row, f)| (*row, f.2, f.3)).collect::<Vec<_>>());
}

/// Writes entries (row, latent, value) as Parquet.
pub fn write_table(path: &Path, entries: &[(u64, u32, f32)]) {
    let columns: [(&str, ArrayRef); 3] = [
        ("row", Arc::new(UInt64Array::from_iter_values(entries.iter().map(|e| e.0)))),
        ("latent", Arc::new(UInt32Array::from_iter_values(entries.iter().map(|e| e.1)))),
        ("value", Arc::new(Float32Array::from_iter_values(entries.iter().map(|e| e.2)))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(4_000)).build();
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Writes ids, a document for each sequence.
fn write_ids(path: &Path, sequences: &[Vec<u32>]) {
    let mut ids = ListBuilder::new(UInt32Builder::new());
    sequences.iter().for_each(|sequence| ids.append_value(sequence.iter().copied().map(Some)));
    let batch = RecordBatch::try_from_iter([("ids", Arc::new(ids.finish()) as ArrayRef)]).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Without what decoder rows and activations give, which is not there for latents in files.
const OF_LATENTS: [(&str, &str); 3] = [
    SHORT[1],
    ("measures = [\"svcca_k10\", \"cka\"]\npairings = [\"forward\", \"backward\", \"mutual\"]\nactivation_", ""),
    ("measures = [\"svcca_k10\", \"cka\"]\nnull = { permutations = 20, activation_permutations = 2 }\n", ""),
];

#[test]
fn latents_in_parquet_give_the_tables_of_the_sae_that_is_encoded_here() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let plain = [&OF_LATENTS[..], &[SHORT[0]]].concat();
    let here = small_demo(folder.path(), &plain);
    run(&here, &path("here"), &["--quiet"]);
    let (cache, other) = (Cache::of(&here, 1), Cache::of(&here, 2));
    // one that is cut inside a row
    let (n, half) = (cache.firings.len(), cache.firings.len() / 2 + 1);
    write_entries(&path("a.parquet"), &cache, 0..half);
    write_entries(&path("b.parquet"), &cache, half..n);
    write_entries(&path("other.parquet"), &other, 0..other.firings.len());
    let stored = |path: PathBuf| format!("stored = {{ path = {path:?}, d_sae = 1024, most = 64 }}\n");
    let (one, two) = (stored(path("?.parquet")), stored(path("other.parquet")));
    let saes = [
        ("path = \"data/demo/saes/small-a/layers.1\"\n", one.as_str()),
        ("path = \"data/demo/saes/small-a/layers.2\"\n", two.as_str()),
    ];
    let flow = in_files(folder.path(), &[], &[&plain[..], &saes].concat());
    let output = run(&flow, &path("files"), &["--quiet"]);
    assert!(found(&path("here")) == found(&path("files")), "the encoder's numbers differ from the files'");
    assert!(String::from_utf8_lossy(&output.stderr).contains("do not all hold ids"));
    let expected = tables(&path("files"));
    run(&flow, &path("three"), &["--quiet", "--workers", "3"]);
    same_tables(&expected, &path("three"), "three workers");
    kill_after(&flow, &path("killed"), 500);
    run(&flow, &path("killed"), &["--quiet"]);
    same_tables(&expected, &path("killed"), "killed");
    let mut turned = Cache { sequences: Vec::new(), firings: cache.firings.clone(), rows: cache.rows.clone() };
    turned.rows.swap(3_000, 3_900);
    write_entries(&path("a.parquet"), &turned, 0..half);
    refused(&flow, &path("never"), 3, &["a.parquet: entry 3", "entries must be in order of their rows"]);
    refused(&flow, &path("files"), 4, &["models.small-a files of latents of resid_post.1"]);
}

#[test]
fn a_latent_cache_gives_the_tables_of_the_sae_that_is_encoded_here() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let of_text =
        [&OF_LATENTS[..], &[SHORT[0], ("max_tokens = 1_500", "max_tokens = 1_500\nremainder = \"drop\"")]].concat();
    let sequences = Cache::of(&small_demo(folder.path(), &of_text), 1).sequences;
    write_ids(&path("ids.parquet"), &sequences);
    // the same contexts as documents of their own
    let ids = format!("files = [{:?}]\nids = \"ids\"\n", path("ids.parquet"));
    let of_ids = [
        &OF_LATENTS[..],
        &[("files = [\"data/demo/corpus.jsonl\"]\nlabels = [\"lang\"]\n", ids.as_str()), ("max_tokens = 12_000\n", "")],
    ]
    .concat();
    let here = small_demo(folder.path(), &of_ids);
    run(&here, &path("here"), &["--quiet"]);
    let (dump, cache) = (Dump::of(&here, &["resid_post.2"]), Cache::of(&here, 1));
    assert_eq!(cache.sequences, sequences);
    let rows = dump.write(folder.path(), 0, &[300, 300], true);
    cache.write(&path("cache"));
    // the latents of one SAE, and activations for the other
    let stored = |most: usize| {
        let stored = format!("stored = {{ path = {:?}, d_sae = 1024, most = {most} }}\n", path("cache"));
        let saes = [("path = \"data/demo/saes/small-a/layers.1\"\n", stored.as_str())];
        in_files(folder.path(), &[("resid_post.2", &rows)], &[&of_ids[..], &saes].concat())
    };
    let flow = stored(64);
    run(&flow, &path("cached"), &["--quiet"]);
    assert!(found(&path("here")) == found(&path("cached")), "the encoder's numbers differ from the cache's");
    let expected = tables(&path("cached"));
    run(&flow, &path("three"), &["--quiet", "--workers", "3"]);
    same_tables(&expected, &path("three"), "three workers");
    assert!(said(&["plan"], &flow).contains("1024 latents as the files hold them, at most 64 per token"));
    said(&["show", path("cached").to_str().unwrap()], Path::new("small-a/resid_post.1/3"));
    let own = tempfile::tempdir().unwrap();
    std::fs::copy(&flow, own.path().join("flow.toml")).unwrap();
    killed_and_taken_up(own.path(), &own.path().join("flow.toml"), 2);
    refused(&stored(2), &path("few"), 3, &["more than 2 latents fire; raise `most`, document"]);

    let told = |cache: &Cache, code: i32, words: &[&str]| {
        std::fs::remove_dir_all(path("cache")).unwrap();
        cache.write(&path("cache"));
        refused(&stored(64), &path("never"), code, words);
    };
    let copy = || Cache { sequences: sequences.clone(), firings: cache.firings.clone(), rows: Vec::new() };
    let mut other = copy();
    other.sequences[9][5] = 3;
    told(&other, 3, &["sequence 9 of", "has token 3 at position 5, and the corpus has", "batch 1, context 1"]);
    let mut short = copy();
    short.sequences.truncate(12);
    short.firings.retain(|f| f.0 < 12);
    told(&short, 3, &["it has 12 sequences, and the corpus has a document 12"]);
    let mut broken = copy();
    broken.firings[40].3 = f32::NAN;
    told(&broken, 3, &["activation NaN of latent", "is not finite, document"]);
    let mut twice = copy();
    twice.firings.insert(7, twice.firings[7]);
    told(&twice, 3, &["twice, expected each once, document"]);
    let mut turned = copy();
    turned.firings.reverse();
    told(&turned, 3, &["must be in order of their sequences"]);
    // a split that is lost would look like latents that never fire
    for (lost, code, words) in [
        ("0_203", 3, "has no split of latents 0 to 203"),
        ("409_613", 3, "has no split of latents 409 to 613"),
        ("819_1023", 2, "ends with latent 818, and resid_post.1 has d_sae = 1024"),
    ] {
        std::fs::remove_dir_all(path("cache")).unwrap();
        copy().write(&path("cache"));
        std::fs::remove_file(path("cache").join(format!("{lost}.safetensors"))).unwrap();
        refused(&stored(64), &path("never"), code, &[words]);
    }
    let mut less = copy();
    less.firings.remove(3);
    std::fs::remove_dir_all(path("cache")).unwrap();
    less.write(&path("cache"));
    refused(&flow, &path("cached"), 4, &["models.small-a files of latents of resid_post.1"]);
}
