//! Files that are damaged, or made to do damage: no panic, an error that names the file or a reading that is right as
//! far as it goes, and no memory taken because a header asks for it.
//!
//! A few thousand inputs for each format here; `COGNATE_HOSTILE_INPUTS=100000 cargo test --profile checked --test
//! hostile` for more, and with `COGNATE_HOSTILE_INPUTS=1 COGNATE_HOSTILE_FIRST=SEED` one alone, printed whole, its
//! panic with its place. Each test prints what it saw. What each allocates is counted by this binary's allocator
//! (memory that C libraries take is not).

#[path = "../common/mod.rs"]
mod common;
mod mutate;
mod ours;
mod watch;

use cognate::corpus::{Corpus, CorpusOptions, Tokenizer};
use cognate::error::{Error, ErrorKind, Result, is_caught};
use cognate::ids::Hookpoint;
use cognate::linalg::Matrix;
use cognate::sae::Encode;
use mutate::{Chance, mutated};
use peak_alloc::PeakAlloc;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;
use watch::Watch;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// One test at a time, what it prepares included: the allocator counts for all threads.
static TURN: Mutex<()> = Mutex::new(());

/// To be held by a test from its first line to its last.
fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|e| e.into_inner())
}

/// Memory that any reading may take beside what its file accounts for: buffers of readers and writers, tables of libraries.
const FIXED: usize = 4 << 20;

struct Format<'a> {
    name: &'a str,
    /// File to be written, below the folder; other files stand beside it already.
    file: &'a str,
    /// Whole files and the spans of their structure.
    whole: Vec<(Vec<u8>, Vec<(usize, usize)>)>,
    text: bool,
    /// Bytes of memory that one byte of a file may account for.
    factor: usize,
}

/// The seeds of a format's inputs: `COGNATE_HOSTILE_INPUTS` of them from `COGNATE_HOSTILE_FIRST` on.
fn seeds() -> std::ops::Range<u64> {
    let of = |name: &str, otherwise| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise);
    let first = of("COGNATE_HOSTILE_FIRST", 0);
    first..first + of("COGNATE_HOSTILE_INPUTS", 1000)
}

fn own(path: &str) -> PathBuf {
    common::fixture(path)
}

/// Opens every mutation of the format's files and judges the outcome.
fn hammer(format: Format, folder: &Path, open: impl Fn(&Path) -> Result<()>) {
    hammer_as(&[ErrorKind::Input, ErrorKind::Request], format, folder, open)
}

/// The same with the kinds that an error may be of.
fn hammer_as(kinds: &[ErrorKind], format: Format, folder: &Path, open: impl Fn(&Path) -> Result<()>) {
    let path = folder.join(format.file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let place = path.to_str().unwrap();
    // once as they are: they must be read, and lazily made tables are made
    for (whole, _) in &format.whole {
        std::fs::write(&path, whole).unwrap();
        open(folder).unwrap_or_else(|e| panic!("{}: the whole file is refused: {e}", format.name));
    }
    let seeds = seeds();
    let n = seeds.end - seeds.start;
    let hook = Arc::new(std::panic::take_hook());
    let of_one = hook.clone();
    std::panic::set_hook(Box::new(move |info| {
        // a panic that is caught and reported as damage is no fault, and for many inputs panics are not printed
        if n == 1 && !is_caught() {
            of_one(info);
        }
    }));
    let watch = Watch::over(format.name);
    let (started, mut read, mut refused, mut worst, mut faults) = (Instant::now(), 0u64, 0u64, 0f64, BTreeMap::new());
    for seed in seeds {
        watch.begin(seed);
        let chance = &mut Chance::new(seed);
        let (whole, places) = &format.whole[seed as usize % format.whole.len()];
        let bytes = mutated(whole, places, format.text, chance);
        std::fs::write(&path, &bytes).unwrap();
        if n == 1 && format.text {
            println!("{}", String::from_utf8_lossy(&bytes));
        }
        MEMORY.reset_peak_usage();
        let before = MEMORY.current_usage();
        let result = catch_unwind(AssertUnwindSafe(|| open(folder)));
        let taken = MEMORY.peak_usage().saturating_sub(before);
        let mut fault = |what: String| faults.entry(what).or_insert((0, seed)).0 += 1;
        match &result {
            Ok(Ok(())) => read += 1,
            Ok(Err(e)) => {
                refused += 1;
                if !kinds.contains(&e.kind()) {
                    fault(format!("{:?}: {e}", e.kind()));
                }
                if !e.to_string().contains(place) && !e.to_string().contains(folder.to_str().unwrap()) {
                    fault(format!("names no file: {e}"));
                }
            }
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                fault(format!(
                    "panic: {}",
                    text.or(panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or_default()
                ));
            }
        }
        if let Some(slow) = watch.end() {
            fault(slow);
        }
        let beyond = taken.saturating_sub(FIXED) as f64 / bytes.len().max(1) as f64;
        worst = worst.max(taken as f64 / bytes.len().max(whole.len()) as f64);
        if beyond > format.factor as f64 {
            fault(format!("takes {} KiB for a file of {} bytes", taken >> 10, bytes.len()));
        }
    }
    std::panic::set_hook(Box::new(move |info| hook(info)));
    println!(
        "{}: {n} inputs, {read} read, {refused} refused by name, {:.1} s, the slowest {:.3} s, at most {worst:.1} bytes of memory a \
         byte of the whole file",
        format.name,
        started.elapsed().as_secs_f64(),
        watch.slowest().as_secs_f64()
    );
    let some: Vec<String> =
        faults.iter().take(12).map(|(what, (n, seed))| format!("{n} times, first with seed {seed}: {what}")).collect();
    assert!(faults.is_empty(), "{}: {} kinds of fault\n{}", format.name, faults.len(), some.join("\n"));
}

/// Few enough values to be quick, every tensor a GPT-NeoX of two blocks has.
fn tiny_model() -> (serde_json::Value, Vec<u8>) {
    let config = serde_json::json!({
        "model_type": "gpt_neox", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
        "vocab_size": 20, "max_position_embeddings": 32, "rotary_pct": 0.5
    });
    let mut tensors: Vec<(String, Vec<usize>)> =
        vec![("gpt_neox.embed_in.weight".into(), vec![20, 8]), ("gpt_neox.final_layer_norm.weight".into(), vec![8])];
    tensors.push(("gpt_neox.final_layer_norm.bias".into(), vec![8]));
    for l in 0..2 {
        let mut layer = |name: &str, shape: &[usize]| {
            tensors.push((format!("gpt_neox.layers.{l}.{name}.weight"), shape.to_vec()));
            tensors.push((format!("gpt_neox.layers.{l}.{name}.bias"), shape[..1].to_vec()));
        };
        layer("input_layernorm", &[8]);
        layer("post_attention_layernorm", &[8]);
        layer("attention.query_key_value", &[24, 8]);
        layer("attention.dense", &[8, 8]);
        layer("mlp.dense_h_to_4h", &[16, 8]);
        layer("mlp.dense_4h_to_h", &[8, 16]);
    }
    let mut chance = Chance::new(7);
    let data: Vec<Vec<u8>> = (tensors.iter())
        .map(|(_, shape)| {
            let n = shape.iter().product::<usize>();
            (0..n).flat_map(|_| (chance.below(1000) as f32 / 500.0 - 1.0).to_le_bytes()).collect()
        })
        .collect();
    let views = tensors.iter().zip(&data).map(|((name, shape), data)| {
        (name.clone(), safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), data).unwrap())
    });
    (config, safetensors::serialize(views, None).unwrap())
}

fn run_model(path: &Path) -> Result<()> {
    let model = cognate::model::open(path)?;
    let n_vocab = model.shape().n_vocab as u32;
    let ids = [1, 2, 3].map(|id| id % n_vocab.max(1));
    let last = model.shape().n_layers - 1;
    model.activations(&ids, &[Hookpoint::Embed, Hookpoint::ResidPost(last)]).map(drop)
}

fn run_sae(path: &Path) -> Result<()> {
    let sae = cognate::sae::open(path, None)?;
    let x = Matrix::from_vec(2, sae.shape().d_in, (0..2 * sae.shape().d_in).map(|i| (i % 7) as f32 - 3.0).collect());
    for encode in [Encode::Sparse, Encode::Dense] {
        // a value that overflows is found here, by row and latent; the caller names the SAE
        let Ok(latents) = sae.encode(&x, encode) else { continue };
        let _ = sae.decode(&latents, &x);
    }
    Ok(())
}

fn safetensors_structure(bytes: &[u8]) -> Vec<(usize, usize)> {
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    vec![(0, 8), (8, 8 + header), (8, 8 + header)]
}

#[test]
fn safetensors_of_a_model() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let (config, weights) = tiny_model();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let places = safetensors_structure(&weights);
    let format = Format {
        name: "safetensors (model)",
        file: "model.safetensors",
        whole: vec![(weights, places)],
        text: false,
        factor: 16,
    };
    hammer(format, folder.path(), run_model);
}

#[test]
fn safetensors_of_saes() {
    let _turn = turn();
    for (name, file) in [("sparsify/topk/layers.1", "sae.safetensors"), ("sae_lens/gated", "sae_weights.safetensors")] {
        let folder = tempfile::tempdir().unwrap();
        let from = own("saes").join(name);
        std::fs::copy(from.join("cfg.json"), folder.path().join("cfg.json")).unwrap();
        let bytes = std::fs::read(from.join(file)).unwrap();
        let places = safetensors_structure(&bytes);
        let format = Format { name: "safetensors (SAE)", file, whole: vec![(bytes, places)], text: false, factor: 16 };
        hammer(format, folder.path(), run_sae);
    }
}

#[test]
fn gguf() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(own("gguf/qwen2_f16.gguf")).unwrap();
    // metadata with the tokenizer, then what describes the tensors
    let tensors = bytes.windows(10).position(|w| w == b"token_embd").unwrap();
    let places = vec![(0, 64), (24, tensors), (tensors, tensors + 2048), (24, tensors + 2048)];
    let format = Format { name: "GGUF", file: "model.gguf", whole: vec![(bytes, places)], text: false, factor: 48 };
    hammer(format, folder.path(), |folder| {
        let path = folder.join("model.gguf");
        let tokenizer = cognate::model::tokenizer(&path).map(|tokenizer| use_tokenizer(&tokenizer));
        run_model(&path)?;
        tokenizer
    });
}

#[test]
fn gguf_of_every_type() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(own("gguf/dequant_all_types.gguf")).unwrap();
    let format = Format {
        name: "GGUF (header alone)",
        file: "model.gguf",
        whole: vec![(bytes, vec![(0, 64), (24, 1200)])],
        text: false,
        factor: 48,
    };
    hammer(format, folder.path(), |folder| {
        let path = folder.join("model.gguf");
        // no model: what is missed is what one would have, when nothing else is wrong
        match cognate::model::header(&path) {
            Err(e) if e.to_string().contains("architecture") || e.to_string().ends_with(" is missing") => Ok(()),
            other => other.map(drop),
        }
    });
}

#[test]
fn npz() {
    let _turn = turn();
    let inside = "layer_2/width_65k/average_l0_9/params.npz";
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(own("saes/gemma_scope_compressed_npz").join(inside)).unwrap();
    // local headers and the directory at the end
    let mut places: Vec<(usize, usize)> = spans(&bytes, b"PK\x03\x04", 64);
    places.extend(spans(&bytes, b"PK\x01\x02", 64));
    places.push((bytes.len() - 22, bytes.len()));
    let stored =
        stored_zip(&[("W_enc", &[4, 6]), ("W_dec", &[6, 4]), ("b_enc", &[6]), ("b_dec", &[4]), ("threshold", &[6])]);
    let mut in_stored = spans(&stored, b"PK\x03\x04", 170);
    in_stored.extend(spans(&stored, b"PK\x01\x02", 60));
    let format = Format {
        name: "npz",
        file: inside,
        whole: vec![(bytes, places), (stored, in_stored)],
        text: false,
        factor: 48,
    };
    hammer(format, folder.path(), |folder| run_sae(&folder.join(inside)));
}

/// The places of `mark`, `n` bytes each.
fn spans(bytes: &[u8], mark: &[u8], n: usize) -> Vec<(usize, usize)> {
    let at = bytes.windows(mark.len()).enumerate().filter(|(_, w)| *w == mark).map(|(at, _)| at);
    at.map(|at| (at, (at + n).min(bytes.len()))).collect()
}

/// An archive as `numpy.savez` writes it: members stored, so that what is inside can be damaged too.
fn stored_zip(arrays: &[(&str, &[usize])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, shape) in arrays {
        let sides: String = shape.iter().map(|n| format!("{n}, ")).collect();
        let mut member =
            format!("\u{7f}NUMPY\u{1}\u{0}v\u{0}{{'descr': '<f4', 'fortran_order': False, 'shape': ({sides}), }}")
                .into_bytes();
        member[0] = 0x93;
        member.resize(127, b' ');
        member.push(b'\n');
        let n: usize = shape.iter().product();
        member.extend((0..n).flat_map(|i| (i as f32 / 8.0 - 1.0).to_le_bytes()));
        let name = format!("{name}.npy");
        let offset = out.len() as u32;
        let size = (member.len() as u32).to_le_bytes();
        // version, flags, method, time, date, checksum (not looked at), sizes, lengths of name and extra
        let fields =
            [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &[0; 4], &size, &size, &(name.len() as u16).to_le_bytes(), &[0, 0]]
                .concat();
        out.extend([b"PK\x03\x04".as_slice(), &fields, name.as_bytes(), &member].concat());
        let behind = [&[0; 2][..], &[0; 2], &[0; 2], &[0; 4], &offset.to_le_bytes()].concat();
        directory.extend([b"PK\x01\x02".as_slice(), &[20, 0], &fields, &behind, name.as_bytes()].concat());
    }
    let n = (arrays.len() as u16).to_le_bytes();
    let (size, offset) = ((directory.len() as u32).to_le_bytes(), (out.len() as u32).to_le_bytes());
    out.extend([&directory, b"PK\x05\x06".as_slice(), &[0; 4], &n, &n, &size, &offset, &[0; 2]].concat());
    out
}

#[test]
fn pickle_of_a_model() {
    let _turn = turn();
    let models = own("models/torch_files");
    for kind in ["zip", "legacy"] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(models.join(kind).join("config.json"), folder.path().join("config.json")).unwrap();
        let bytes = std::fs::read(models.join(kind).join("pytorch_model.bin")).unwrap();
        let pickle = bytes.windows(2).position(|w| w == b"\x80\x02").unwrap();
        let mut places = vec![(pickle, pickle + 3000), (pickle, pickle + 3000)];
        places.extend(spans(&bytes, b"PK\x01\x02", 60));
        places.push((bytes.len().saturating_sub(128), bytes.len()));
        let format =
            Format { name: kind, file: "pytorch_model.bin", whole: vec![(bytes, places)], text: false, factor: 48 };
        hammer(format, folder.path(), run_model);
    }
}

#[test]
fn pickle() {
    let _turn = turn();
    for (name, kept) in [("ae.pt", "ae.pt"), ("ae_legacy_container.pt", "ae.pt")] {
        let folder = tempfile::tempdir().unwrap();
        let from = own("saes/dictionary_learning/jumprelu");
        std::fs::copy(from.join("config.json"), folder.path().join("config.json")).unwrap();
        let bytes = std::fs::read(from.join(name)).unwrap();
        // torch stores its members: the pickle itself is damaged in place
        let pickle = bytes.windows(2).position(|w| w == b"\x80\x02").unwrap();
        let mut places = vec![(pickle, pickle + 900), (pickle, pickle + 900)];
        places.extend(spans(&bytes, b"PK\x01\x02", 60));
        places.push((bytes.len().saturating_sub(128), bytes.len()));
        let format = Format { name, file: kept, whole: vec![(bytes, places)], text: false, factor: 48 };
        hammer(format, folder.path(), run_sae);
    }
}

/// A file in torch's container from before 1.6, whose state dict is what `program` leaves on pickle's stack.
fn legacy_torch(program: &[u8]) -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    [magic.as_slice(), b"\x80\x02M\xe9\x03.\x80\x02}.\x80\x02", program, b".\x80\x02]."].concat()
}

/// A zip archive of one deflated member.
fn deflated_zip(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packed, bytes).unwrap();
    let packed = packed.finish().unwrap();
    let [size, whole] = [packed.len(), bytes.len()].map(|n| (n as u32).to_le_bytes());
    let n_name = (name.len() as u16).to_le_bytes();
    let fields = [&[20, 0, 0, 0, 8, 0, 0, 0, 0, 0][..], &[0; 4], &size, &whole, &n_name, &[0, 0]].concat();
    let mut out = [b"PK\x03\x04".as_slice(), &fields, name.as_bytes(), &packed].concat();
    let offset = (out.len() as u32).to_le_bytes();
    let directory = [b"PK\x01\x02\x14\0".as_slice(), &fields, &[0; 10], &[0; 4], name.as_bytes()].concat();
    let n_directory = (directory.len() as u32).to_le_bytes();
    out.extend([&directory, b"PK\x05\x06".as_slice(), &[0; 4], &[1, 0, 1, 0], &n_directory, &offset, &[0; 2]].concat());
    out
}

/// `text` as pickle writes it.
fn pickled(text: &str) -> Vec<u8> {
    [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

/// A GGUF file of this many tensors and values of metadata, which `body` holds.
fn gguf_of(n_tensors: u64, n_values: u64, body: &[u8]) -> Vec<u8> {
    [b"GGUF".as_slice(), &3u32.to_le_bytes(), &n_tensors.to_le_bytes(), &n_values.to_le_bytes(), body].concat()
}

/// The value `a` of a GGUF file: an array of `n` values of one type.
fn gguf_array(kind: u32, n: usize, values: &[u8]) -> Vec<u8> {
    let key = [&1u64.to_le_bytes()[..], b"a", &9u32.to_le_bytes()].concat();
    gguf_of(0, 1, &[&key[..], &kind.to_le_bytes(), &(n as u64).to_le_bytes(), values].concat())
}

/// Few bytes that ask for many: names copied for each entry, small values in large words, shapes copied for each tensor.
#[test]
fn no_header_takes_more_than_four_times_its_file_and_16_mib() {
    let _turn = turn();
    const N: usize = 1_000_000;
    let name = [pickled(&"n".repeat(100_000)), b"q\x00".to_vec()].concat();
    let pairs = |pair: &[u8], n: usize| [b"}(".as_slice(), &name, b"N", &pair.repeat(n), b"u"].concat();
    let inner = [&name[..], b"0}q\x01(", &b"h\x00N".repeat(2000), b"u0}(", &b"h\x00h\x01".repeat(3), b"u"].concat();
    let shape = [&b"("[..], &b"K\x01".repeat(20_000), b"tq\x020"].concat();
    let storage =
        [&b"("[..], &pickled("storage"), b"ctorch\nFloatStorage\n", &pickled("0"), &pickled("cpu"), b"K\x01tQq\x030"]
            .concat();
    let call = b"ctorch._utils\n_rebuild_tensor_v2\nq\x040";
    let tensor = b"h\x04(h\x03K\x00h\x02h\x02tR";
    let tensors = [&shape[..], &storage, call, b"](", &tensor.repeat(2000), b"e"].concat();
    let memo: Vec<u8> = (0..200_000u32).flat_map(|i| [&b"r"[..], &i.to_le_bytes()].concat()).collect();
    let pickles: Vec<(&str, Vec<u8>)> = vec![
        ("a long name for each entry", pairs(b"h\x00N", 3000)),
        ("a long text for each entry", pairs(&[pickled("a"), b"h\x00".to_vec()].concat(), 3000)),
        ("a long name around each name", inner),
        ("small values", b"N".repeat(N)),
        ("marks", b"(".repeat(N)),
        ("lists", b"]".repeat(N)),
        ("dicts", b"}".repeat(N)),
        ("empty tuples", b")".repeat(N)),
        ("pairs of nothing", [b"}(".as_slice(), &b"NN".repeat(N), b"u"].concat()),
        ("remembered values", [&b"N"[..], &memo].concat()),
        ("a long shape for each tensor", tensors),
    ];
    let texts = b"\0\0\0\0\0\0\0\0".repeat(N / 4);
    let arrays = [&0u32.to_le_bytes()[..], &0u64.to_le_bytes()].concat().repeat(N / 8);
    let values = |n: usize| -> Vec<u8> {
        let one =
            |i: usize| [&6u64.to_le_bytes()[..], format!("{i:06}").as_bytes(), &0u32.to_le_bytes(), &[1]].concat();
        (0..n).flat_map(one).collect()
    };
    let plain = |n: usize| -> Vec<u8> {
        let one =
            |i: usize| [&6u64.to_le_bytes()[..], format!("{i:06}").as_bytes(), &[0; 4], &[0; 4], &[0; 8]].concat();
        (0..n).flat_map(one).collect()
    };
    let ggufs = [
        ("GGUF: bytes", gguf_array(0, N, &vec![7; N])),
        ("GGUF: flags", gguf_array(7, N, &vec![1; N])),
        ("GGUF: empty texts", gguf_array(8, N / 4, &texts)),
        ("GGUF: empty arrays", gguf_array(9, N / 8, &arrays)),
        ("GGUF: values", gguf_of(0, 60_000, &values(60_000))),
        ("GGUF: more values", gguf_of(0, 200_000, &values(200_000))),
        ("GGUF: tensors", gguf_of(60_000, 0, &plain(60_000))),
    ];
    let entry = |i: usize| format!("\"t{i}\":{{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,0]}},");
    let header = |n: usize| {
        let text: String = (0..n).map(entry).collect();
        let text = format!("{{{}}}", text.trim_end_matches(','));
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
    };
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    std::fs::write(place.join("config.json"), tiny_model().0.to_string()).unwrap();
    let measure = |what: &str, file: &str, bytes: &[u8], open: &dyn Fn(&Path) -> Result<()>| {
        let path = place.join(file);
        std::fs::write(&path, bytes).unwrap();
        MEMORY.reset_peak_usage();
        let before = MEMORY.current_usage();
        let result = open(&path);
        let taken = MEMORY.peak_usage().saturating_sub(before);
        std::fs::remove_file(&path).unwrap();
        let most = 4 * bytes.len() + (16 << 20);
        println!("{what} in {file}: {} KiB of {} for a file of {}", taken >> 10, most >> 10, bytes.len() >> 10);
        assert!(taken <= most, "{what} in {file} takes {taken} bytes for a file of {}", bytes.len());
        let error = result.expect_err(what);
        assert!(matches!(error.kind(), ErrorKind::Input | ErrorKind::Request), "{what}: {error}");
        assert!(error.to_string().contains(place.to_str().unwrap()), "{what}: {error}");
    };
    let sae = |path: &Path| cognate::sae::header(path, None).map(drop);
    let of_folder = |_: &Path| cognate::model::header(place).map(drop);
    let model = |path: &Path| cognate::model::header(path).map(drop);
    for (what, program) in &pickles {
        let pickle = [b"\x80\x02", &program[..], b"."].concat();
        for bytes in [legacy_torch(program), deflated_zip("a/data.pkl", &pickle)] {
            measure(what, "ae.pt", &bytes, &sae);
            measure(what, "pytorch_model.bin", &bytes, &of_folder);
        }
    }
    for (what, bytes) in &ggufs {
        measure(what, "model.gguf", bytes, &model);
    }
    for n in [4_000, 60_000] {
        measure("safetensors: tensors", "model.safetensors", &header(n), &of_folder);
    }
}

fn use_tokenizer(tokenizer: &Tokenizer) {
    for text in ["the quick  brown fox\n", "naïve 東京 \u{1f600} def f(x):", " <|endoftext|></s>", ""] {
        let Ok(ids) = tokenizer.encode(text) else { continue };
        let _ = tokenizer.decode(&ids);
        let _ = tokenizer.encode_with_bytes(text);
        ids.iter().for_each(|&id| drop(tokenizer.token_text(id)));
    }
}

#[test]
fn tokenizer_json() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let names = ["gpt2_bpe", "llama_sp", "gemma_sp", "qwen_bpe"];
    let read = |name: &&str| std::fs::read(own("tokenizers").join(name).join("tokenizer.json")).unwrap();
    let whole = names.iter().map(read).map(|bytes| {
        // the vocabulary is most of the file and says the least
        let vocabulary = bytes.windows(7).position(|w| w == b"\"vocab\"").unwrap();
        let n = bytes.len();
        (bytes, vec![(0, vocabulary + 200), (0, vocabulary + 200), (n - 600, n)])
    });
    let format =
        Format { name: "tokenizer.json", file: "tokenizer.json", whole: whole.collect(), text: true, factor: 200 };
    hammer(format, folder.path(), |folder| Tokenizer::from_folder(folder).map(|tokenizer| use_tokenizer(&tokenizer)));
}

#[test]
fn config_json() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let mut whole: Vec<(Vec<u8>, Vec<(usize, usize)>)> = Vec::new();
    for entry in std::fs::read_dir(own("configs")).unwrap() {
        whole.push((std::fs::read(entry.unwrap().path()).unwrap(), Vec::new()));
    }
    whole.sort();
    let format = Format { name: "config.json", file: "config.json", whole, text: true, factor: 64 };
    hammer(format, folder.path(), |folder| cognate::model::described(folder).map(drop));
}

/// What many inputs found once, by the file itself.
#[test]
fn what_damage_has_found() {
    let _turn = turn();
    // the library's Strip takes characters from an empty token
    let mut file: serde_json::Value =
        serde_json::from_slice(&std::fs::read(own("tokenizers/llama_sp/tokenizer.json")).unwrap()).unwrap();
    let gone = serde_json::json!({"type": "Replace", "pattern": {"String": "▁"}, "content": ""});
    let strip = serde_json::json!({"type": "Strip", "content": " ", "start": 0, "stop": 1});
    file["decoder"] = serde_json::json!({"type": "Sequence", "decoders": [gone, strip]});
    let tokenizer = Tokenizer::from_bytes("t", file.to_string().as_bytes()).unwrap();
    let space = file["model"]["vocab"]["▁"].as_u64().unwrap() as u32;
    let error = tokenizer.decode(&[space]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(error.to_string().contains("tokenizer.json"), "{error}");
    // an id so high that the library counts for seconds, and lists in gigabytes, what is missing below it
    let mut file: serde_json::Value =
        serde_json::from_slice(&std::fs::read(own("tokenizers/gpt2_bpe/tokenizer.json")).unwrap()).unwrap();
    let vocab = file["model"]["vocab"].as_object_mut().unwrap();
    let last = vocab.iter().max_by_key(|(_, id)| id.as_u64()).unwrap().0.clone();
    for (id, is_read) in [(60_000u32, true), (172_097_152, false)] {
        vocab.insert(last.clone(), id.into());
        let bytes =
            serde_json::json!({ "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "!" } }).to_string();
        match Tokenizer::from_bytes("t", bytes.as_bytes()) {
            Ok(_) => assert!(is_read),
            Err(e) => assert!(!is_read && e.to_string().contains("has id 172097152, and there are"), "{id}: {e}"),
        }
    }
    // a head so wide that its table of angles is the largest thing of all
    let folder = tempfile::tempdir().unwrap();
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(own("configs/llama3_tied_scaled.json")).unwrap()).unwrap();
    config["head_dim"] = serde_json::json!(1 << 21);
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let error = cognate::model::described(folder.path()).unwrap_err().to_string();
    assert!(error.contains("2097152 dimensions") && error.contains("config.json"), "{error}");
}

#[test]
fn corpora() {
    let _turn = turn();
    let text: String =
        (0..40).map(|i| format!("{{\"id\": \"{i}\", \"text\": \"line {i} of a corpus, a little text\"}}\n")).collect();
    let tokenizer = Arc::new(Tokenizer::from_file(&own("tokenizers/gpt2_bpe/tokenizer.json")).unwrap());
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gz, text.as_bytes()).unwrap();
    let parquet = {
        let column: arrow::array::ArrayRef = Arc::new(arrow::array::StringArray::from_iter_values(text.lines()));
        let batch = arrow::record_batch::RecordBatch::try_from_iter([("text", column)]).unwrap();
        let mut out = Vec::new();
        let mut writer = parquet::arrow::ArrowWriter::try_new(&mut out, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        out
    };
    let n = parquet.len();
    for (file, bytes, places, is_text) in [
        ("c.jsonl", text.clone().into_bytes(), vec![], true),
        ("c.jsonl.gz", gz.finish().unwrap(), vec![(0, 20)], false),
        ("c.jsonl.zst", zstd::encode_all(text.as_bytes(), 3).unwrap(), vec![(0, 20)], false),
        ("c.parquet", parquet, vec![(n - 600, n), (n - 600, n), (0, 100)], false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let format = Format { name: file, file, whole: vec![(bytes, places)], text: is_text, factor: 200 };
        hammer(format, folder.path(), |folder| {
            let options: CorpusOptions = serde_json::from_value(serde_json::json!({
                "files": [folder.join(file)], "context_length": 16, "bos": "none"
            }))
            .map_err(|e| Error::request(e.to_string()))?;
            let mut corpus = Corpus::open(options, tokenizer.clone())?;
            while corpus.next_batch()?.is_some() {}
            Ok(())
        });
    }
}
