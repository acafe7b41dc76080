//! Models that another process runs: they give the tables of the model that runs here, whichever process is killed; and
//! what is no answer ends the run.
//!
//! The feed here is a thread at a socket that runs the demo's own model, so its answers are the forward's to the last bit.
//! `python/tests/test_feed.py` has feeds in Python.

use crate::bench_rig::{WITHOUT_LAYER_1, cognate, latents, matches, project, run, same_tables, small_demo, tables};
use crate::kill::killed_and_taken_up;
use arrow::array::{
    ArrayRef, AsArray, FixedSizeListArray, Float16Array, Float32Array, Float32Builder, ListBuilder, RecordBatch,
    UInt16Array, UInt32Array, UInt32Builder, UInt64Array,
};
use arrow::datatypes::{Field, Float32Type, Schema, UInt32Type, UInt64Type};
use arrow::ipc::{reader::StreamReader, writer::StreamWriter};
use cognate::linalg::Matrix;
use cognate::model::Model;
use cognate::sae::{Encode, Sae};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a feed does with the answer that it has computed.
enum Reply {
    Answer(RecordBatch),
    Bytes(Vec<u8>),
    Silence,
    Death,
}

type Replies = dyn Fn(u64, RecordBatch) -> Reply + Send + Sync;

/// A feed that lasts as long as the tests.
fn serve(socket: &Path, states: Option<&str>, replies: impl Fn(u64, RecordBatch) -> Reply + Send + Sync + 'static) {
    let model = cognate::model::open(&project().join("data/demo/models/small-a")).unwrap();
    let listener = UnixListener::bind(socket).unwrap();
    let (states, replies): (Option<String>, Arc<Replies>) = (states.map(String::from), Arc::new(replies));
    std::thread::spawn(move || {
        for peer in listener.incoming() {
            let (peer, model, states, replies) = (peer.unwrap(), model.clone(), states.clone(), replies.clone());
            // what breaks is the other side's end
            std::thread::spawn(move || serve_one(&peer, model.as_ref(), states, replies.as_ref()).unwrap_or_default());
        }
    });
}

fn serve_one(peer: &UnixStream, model: &dyn Model, states: Option<String>, replies: &Replies) -> Option<()> {
    let mut lines = BufReader::new(peer.try_clone().ok()?);
    let mut line = String::new();
    lines.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((said["cognate_feed"].as_u64(), said["model"].as_str()), (Some(1), Some("small-a")));
    let asks: Vec<Asks> = said["asks"].as_array().unwrap().iter().map(Asks::read).collect();
    writeln!(&*peer, "{}", serde_json::json!({ "cognate_feed": 1, "states": states })).ok()?;
    let mut answers: Option<StreamWriter<UnixStream>> = None;
    for request in StreamReader::try_new(lines, None).ok()? {
        let request = request.ok()?;
        let number = request.column_by_name("batch").unwrap().as_primitive::<UInt64Type>().value(0);
        match replies(number, answer(model, &asks, &request)) {
            Reply::Answer(batch) => {
                let mut writer = match answers.take() {
                    Some(writer) => writer,
                    None => StreamWriter::try_new(peer.try_clone().ok()?, &batch.schema()).ok()?,
                };
                writer.write(&batch).ok()?;
                answers = Some(writer);
            }
            Reply::Bytes(bytes) => (&*peer).write_all(&bytes).ok()?,
            Reply::Silence => loop {
                std::thread::park();
            },
            Reply::Death => {
                peer.shutdown(std::net::Shutdown::Both).ok()?;
                return None;
            }
        }
    }
    Some(())
}

/// What one place is asked for.
struct Asks {
    name: String,
    /// The SAE whose latents are asked for.
    sae: Option<Sae>,
}

impl Asks {
    fn read(said: &serde_json::Value) -> Asks {
        let name = said["hookpoint"].as_str().unwrap().to_string();
        let of_layer = || {
            let layer = name.strip_prefix("resid_post.").unwrap();
            cognate::sae::open(&project().join(format!("data/demo/saes/small-a/layers.{layer}")), None).unwrap()
        };
        let sae = (said["holds"] == "latents").then(of_layer);
        assert_eq!(
            said["width"].as_u64(),
            Some(if sae.is_some() {
                1024
            } else if name.contains("mlp_act") {
                384
            } else {
                128
            })
        );
        Asks { name, sae }
    }
}

/// What the model holds, one row for each token of the request.
fn answer(model: &dyn Model, asks: &[Asks], request: &RecordBatch) -> RecordBatch {
    let contexts = request.column_by_name("ids").unwrap().as_list::<i32>();
    let number = request.column_by_name("batch").unwrap().as_primitive::<UInt64Type>().value(0);
    let hookpoints: Vec<_> = asks.iter().map(|asks| asks.name.parse().unwrap()).collect();
    let (mut ids, mut held) = (Vec::new(), vec![Vec::new(); asks.len()]);
    for context in contexts.iter() {
        let of_context = context.unwrap().as_primitive::<UInt32Type>().values().to_vec();
        for (held, x) in held.iter_mut().zip(model.activations(&of_context, &hookpoints).unwrap()) {
            held.extend_from_slice(x.as_slice());
        }
        ids.extend(of_context);
    }
    let n = ids.len();
    let names: Vec<[String; 2]> =
        asks.iter().map(|asks| [".index", ".value"].map(|end| format!("{}{end}", asks.name))).collect();
    let columns = asks.iter().zip(&names).zip(held).flat_map(|((asks, [index, value]), held)| {
        let width = held.len() / n;
        let Some(sae) = &asks.sae else {
            return vec![(asks.name.as_str(), list(Arc::new(Float32Array::from(held)), width), None)];
        };
        let latents = sae.encode(&Matrix::from_vec(n, width, held), Encode::Sparse).unwrap();
        let (mut indices, mut values) =
            (ListBuilder::new(UInt32Builder::new()), ListBuilder::new(Float32Builder::new()));
        for row in 0..n {
            // in any order, and with some that do not fire
            let (fired, held) = latents.row(row);
            for (latent, value) in fired.iter().zip(held).rev().chain([(&5, &0.0)]) {
                indices.values().append_value(*latent);
                values.values().append_value(*value);
            }
            indices.append(true);
            values.append(true);
        }
        vec![
            (index.as_str(), Arc::new(indices.finish()) as ArrayRef, None),
            (value.as_str(), Arc::new(values.finish()), None),
        ]
    });
    let whose: [Column; 2] =
        [("batch", Arc::new(UInt64Array::from(vec![number; n])), None), ("id", Arc::new(UInt32Array::from(ids)), None)];
    record_batch(whose.into_iter().chain(columns).collect())
}

type Column<'a> = (&'a str, ArrayRef, Option<&'a str>);

fn list(values: ArrayRef, width: usize) -> ArrayRef {
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), false));
    Arc::new(FixedSizeListArray::new(field, width as i32, values, None))
}

fn record_batch(columns: Vec<Column>) -> RecordBatch {
    let field = |(name, column, dtype): &Column| {
        let metadata: HashMap<String, String> =
            dtype.iter().map(|dtype| ("dtype".to_string(), dtype.to_string())).collect();
        Field::new(*name, column.data_type().clone(), column.null_count() > 0).with_metadata(metadata)
    };
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, column, _)| column).collect()).unwrap()
}

/// The same with every column of activations rebuilt from its values.
fn with_values(answer: &RecordBatch, dtype: Option<&str>, make: impl Fn(&[f32]) -> ArrayRef) -> RecordBatch {
    let schema = answer.schema();
    let columns = schema.fields().iter().zip(answer.columns()).map(|(field, column)| {
        let made = column.as_fixed_size_list_opt().map(|of| {
            let values = make(of.values().as_primitive::<Float32Type>().values());
            (list(values, of.value_length() as usize), dtype)
        });
        let (column, dtype) = made.unwrap_or((column.clone(), None));
        (field.name().as_str(), column, dtype)
    });
    record_batch(columns.collect())
}

/// The demo in short with small-a fed from `socket`.
fn fed(folder: &Path, socket: &Path, more: &str, replace: &[(&str, &str)]) -> PathBuf {
    let feed = format!("feed = {{ socket = {socket:?}{more} }}\ntokenizer = \"data/demo/models/small-a\"\n");
    let mut all = vec![("path = \"data/demo/models/small-a\"\n", feed.as_str())];
    all.extend(replace);
    small_demo(folder, &all)
}

/// Enough of the demo to compare numbers.
const SHORT: [(&str, &str); 2] =
    [("max_tokens = 12_000", "max_tokens = 1_500"), ("snapshot_every = 3_000", "snapshot_every = 500")];

/// What a run finds of latents and matches.
fn found(run: &Path) -> String {
    format!("{:?}\n{:?}", latents(run), matches(run))
}

fn refused(flow: &Path, out: &Path, code: i32, words: &[&str]) {
    let output = cognate().args(["run", "--quiet", "--out"]).arg(out).arg(flow).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    words.iter().for_each(|word| assert!(said.contains(word), "no {word:?} in: {said}"));
}

#[test]
fn a_fed_model_gives_the_tables_of_the_one_that_runs_here() {
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
    run(&small_demo(folder.path(), &replace), &path("here"), &["--quiet"]);
    let here = found(&path("here"));
    serve(&path("feed.sock"), None, |_, answer| Reply::Answer(answer));
    let flow = fed(folder.path(), &path("feed.sock"), "", &replace);
    run(&flow, &path("fed"), &["--quiet"]);
    assert!(here == found(&path("fed")), "the forward's numbers differ from the feed's");
    let expected = tables(&path("fed"));
    run(&flow, &path("three"), &["--quiet", "--workers", "3"]);
    same_tables(&expected, &path("three"), "three workers");
    let manifest = std::fs::read_to_string(path("fed/manifest.json")).unwrap();
    assert!(manifest.contains("its weights cannot be known; the feed states nothing"), "{manifest}");
    let plan = cognate().arg("plan").arg(&flow).output().unwrap();
    let said = String::from_utf8_lossy(&plan.stdout);
    assert!(said.contains("small-a: a feed at the socket") && said.contains("answer of a feed"), "{said}");
    let doctor = cognate().args(["doctor", "--tokens", "200"]).arg(&flow).output().unwrap();
    let said = String::from_utf8_lossy(&doctor.stdout);
    assert!(doctor.status.success() && said.contains("small-a/resid_post.2"), "{said}");
}

/// What only decoder rows, and activations, give.
const OF_LATENTS: [(&str, &str); 4] = [
    SHORT[0],
    SHORT[1],
    ("measures = [\"svcca_k10\", \"cka\"]\npairings = [\"forward\", \"backward\", \"mutual\"]\nactivation_", ""),
    ("measures = [\"svcca_k10\", \"cka\"]\nnull = { permutations = 20, activation_permutations = 2 }\n", ""),
];

#[test]
fn fed_latents_give_the_tables_of_those_that_are_encoded_here() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    run(&small_demo(folder.path(), &OF_LATENTS), &path("here"), &["--quiet"]);
    serve(&path("feed.sock"), None, |_, answer| Reply::Answer(answer));
    // the latents of one SAE, and activations for the other
    let latents = "fed = { d_sae = 1024, most = 64 }\n";
    let replace = [&OF_LATENTS[..], &[("path = \"data/demo/saes/small-a/layers.1\"\n", latents)]].concat();
    let flow = fed(folder.path(), &path("feed.sock"), "", &replace);
    run(&flow, &path("fed"), &["--quiet"]);
    assert!(found(&path("here")) == found(&path("fed")), "the encoder's numbers differ from the feed's");
    let expected = tables(&path("fed"));
    run(&flow, &path("three"), &["--quiet", "--workers", "3"]);
    same_tables(&expected, &path("three"), "three workers");
    let plan = cognate().arg("plan").arg(&flow).output().unwrap();
    let said = String::from_utf8_lossy(&plan.stdout);
    assert!(said.contains("1024 latents as the feed gives them, at most 64 per token"), "{said}");
    let shown = cognate().arg("show").arg(path("fed")).arg("small-a/resid_post.1/3").output().unwrap();
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    // fewer than fire
    let flow = fed(
        folder.path(),
        &path("feed.sock"),
        "",
        &[&OF_LATENTS[..], &[("path = \"data/demo/saes/small-a/layers.1\"\n", "fed = { d_sae = 1024, most = 2 }\n")]]
            .concat(),
    );
    refused(&flow, &path("few"), 3, &["resid_post.1: ", "latents fire, expected 2 at most; raise `most`, document"]);
}

#[test]
fn a_fed_run_killed_at_random_moments_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("feed.sock");
    serve(&socket, Some("sha256:1"), |_, answer| Reply::Answer(answer));
    killed_and_taken_up(folder.path(), &fed(folder.path(), &socket, "", &[]), crate::kill::kills());
}

#[test]
fn a_feed_that_dies_again_and_again_costs_time_and_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    serve(&path("whole.sock"), None, |_, answer| Reply::Answer(answer));
    run(&fed(folder.path(), &path("whole.sock"), "", &[]), &path("whole"), &["--quiet"]);
    let expected = tables(&path("whole"));
    let answered = AtomicU64::new(0);
    serve(&path("dying.sock"), None, move |_, answer| {
        // more than the doctor asks for, so each start comes further
        if answered.fetch_add(1, Ordering::SeqCst) % 13 == 12 { Reply::Death } else { Reply::Answer(answer) }
    });
    let flow = fed(folder.path(), &path("dying.sock"), "", &[]);
    let mut deaths = 0;
    loop {
        let output = cognate().args(["run", "--quiet", "--out"]).arg(path("dying")).arg(&flow).output().unwrap();
        if output.status.success() {
            break;
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{said}");
        assert!(said.contains("model \"small-a\": its feed ended while batch"), "{said}");
        deaths += 1;
        assert!(deaths < 30, "it comes no further: {said}");
    }
    assert!(deaths > 1, "it died {deaths} times");
    same_tables(&expected, &path("dying"), "a feed that died");
}

/// What a feed says, passed on as far as a number of bytes: then it is gone, in the middle of a message or between two.
fn pass_on(through: &Path, to: &Path, left: &Arc<AtomicU64>, passed: &Arc<AtomicU64>) {
    let (listener, to) = (UnixListener::bind(through).unwrap(), to.to_path_buf());
    let (left, passed) = (left.clone(), passed.clone());
    std::thread::spawn(move || {
        for run in listener.incoming() {
            let (run, feed) = (run.unwrap(), UnixStream::connect(&to).unwrap());
            let (mut asked, mut to_feed) = (run.try_clone().unwrap(), feed.try_clone().unwrap());
            std::thread::spawn(move || drop(std::io::copy(&mut asked, &mut to_feed)));
            let (left, passed) = (left.clone(), passed.clone());
            std::thread::spawn(move || {
                let (mut run, mut feed, mut buffer) = (run, feed, vec![0; 1 << 14]);
                while let Ok(n @ 1..) = feed.read(&mut buffer) {
                    let n = n.min(usize::try_from(left.load(Ordering::SeqCst)).unwrap());
                    left.fetch_sub(n as u64, Ordering::SeqCst);
                    passed.fetch_add(n as u64, Ordering::SeqCst);
                    if n == 0 || run.write_all(&buffer[..n]).is_err() {
                        break;
                    }
                }
                [&run, &feed].map(|stream| stream.shutdown(std::net::Shutdown::Both)).into_iter().for_each(drop);
            });
        }
    });
}

#[test]
fn a_feed_killed_at_random_moments_costs_time_and_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    serve(&path("whole.sock"), Some("sha256:1"), |_, answer| Reply::Answer(answer));
    let (left, passed) = (Arc::new(AtomicU64::new(u64::MAX / 2)), Arc::<AtomicU64>::default());
    pass_on(&path("dying.sock"), &path("whole.sock"), &left, &passed);
    let flow = fed(folder.path(), &path("dying.sock"), "", &[]);
    run(&flow, &path("whole"), &["--quiet"]);
    let (expected, of_a_run) = (tables(&path("whole")), passed.load(Ordering::SeqCst));
    let mut state = 7u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let (mut deaths, mut ends) = (0, 0);
    while deaths < crate::kill::kills() || ends == 0 {
        left.store(random(of_a_run), Ordering::SeqCst);
        let workers = (1 + random(3)).to_string();
        let mut command = cognate();
        command.args(["run", "--quiet", "--workers", &workers, "--out"]).arg(path("dying")).arg(&flow);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            same_tables(&expected, &path("dying"), &format!("after {deaths} deaths of the feed"));
            std::fs::remove_dir_all(path("dying")).unwrap();
            ends += 1;
        } else {
            assert!(
                output.status.code() == Some(5) && said.contains("model \"small-a\""),
                "{:?} {said}",
                output.status
            );
            deaths += 1;
        }
    }
    println!("the feed died {deaths} times, {ends} runs brought to their end");
}

/// A stop waits for an answer that is on its way, and no longer than some seconds: it was waited for as long as `silence` allows.
#[test]
fn a_stop_is_heeded_while_a_feed_is_silent() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("feed.sock");
    let is_asked = Arc::new(AtomicU64::new(0));
    let asked = is_asked.clone();
    serve(&socket, Some("sha256:1"), move |number, answer| match number {
        0..4 => Reply::Answer(answer),
        _ => {
            asked.store(1, Ordering::SeqCst);
            Reply::Silence
        }
    });
    let flow = fed(folder.path(), &socket, "", &[("[checkpoint]", "[check]\ndoctor = \"off\"\n[checkpoint]")]);
    let mut command = cognate();
    command.args(["run", "--quiet", "--out"]).arg(folder.path().join("out")).arg(&flow);
    let child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    while is_asked.load(Ordering::SeqCst) == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let since = std::time::Instant::now();
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let (said, took) = (String::from_utf8_lossy(&output.stderr), since.elapsed());
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("stopped as asked; its feed had not answered batch 4 10 s later"), "{said}");
    assert!((8..60).contains(&took.as_secs()), "after {took:?}");
    // the same command takes it up
    std::fs::remove_file(&socket).unwrap();
    serve(&socket, Some("sha256:1"), |_, answer| Reply::Answer(answer));
    run(&flow, &folder.path().join("out"), &["--quiet"]);
}

#[test]
fn half_floats_are_widened_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let short = SHORT;
    let as_f32 = |round: fn(f32) -> f32| {
        move |answer: &RecordBatch| {
            with_values(answer, None, |x| Arc::new(Float32Array::from(x.iter().map(|v| round(*v)).collect::<Vec<_>>())))
        }
    };
    fn bf16(v: f32) -> u16 {
        (v.to_bits() >> 16) as u16
    }
    let to_f16 = as_f32(|v| half::f16::from_f32(v).to_f32());
    let to_bf16 = as_f32(|v| f32::from_bits(u32::from(bf16(v)) << 16));
    serve(&path("f16_widened"), None, move |_, answer| Reply::Answer(to_f16(&answer)));
    serve(&path("bf16_widened"), None, move |_, answer| Reply::Answer(to_bf16(&answer)));
    serve(&path("f16"), None, |_, answer| {
        let halves = |x: &[f32]| -> ArrayRef {
            Arc::new(Float16Array::from_iter_values(x.iter().map(|v| half::f16::from_f32(*v))))
        };
        Reply::Answer(with_values(&answer, None, halves))
    });
    serve(&path("bf16"), None, |_, answer| {
        let halves = |x: &[f32]| -> ArrayRef { Arc::new(UInt16Array::from_iter_values(x.iter().map(|v| bf16(*v)))) };
        Reply::Answer(with_values(&answer, Some("bf16"), halves))
    });
    for dtype in ["f16", "bf16"] {
        let out = |name: &str| path(&format!("run_{name}"));
        let widened = format!("{dtype}_widened");
        for name in [dtype, &widened] {
            run(&fed(folder.path(), &path(name), "", &short), &out(name), &["--quiet"]);
        }
        assert!(found(&out(dtype)) == found(&out(&widened)), "{dtype}");
    }
}

#[test]
fn what_is_no_answer_ends_the_run_with_words() {
    let folder = tempfile::tempdir().unwrap();
    let flow_of = |name: &str, more: &str| {
        let own = folder.path().join(name);
        std::fs::create_dir(&own).unwrap();
        (fed(&own, &own.join("feed.sock"), more, &[("[checkpoint]", "[check]\ndoctor = \"off\"\n[checkpoint]")]), own)
    };
    let lie = |name: &str, code: i32, words: &[&str], more: &str, replies: fn(u64, RecordBatch) -> Reply| {
        let (flow, own) = flow_of(name, more);
        serve(&own.join("feed.sock"), None, move |number, answer| match number {
            0..2 => Reply::Answer(answer),
            _ => replies(number, answer),
        });
        refused(&flow, &own.join("out"), code, &[&["model \"small-a\"", "batch 2"][..], words].concat());
        // what was saved is whole, and the same command resumes
        std::fs::remove_file(own.join("feed.sock")).unwrap();
        serve(&own.join("feed.sock"), None, |_, answer| Reply::Answer(answer));
        run(&flow, &own.join("out"), &["--quiet"]);
    };
    fn replaced(answer: &RecordBatch, k: usize, column: ArrayRef) -> Reply {
        let (schema, mut columns) = (answer.schema(), answer.columns().to_vec());
        columns[k] = column;
        let named = schema.fields().iter().zip(columns).map(|(f, c)| (f.name().as_str(), c, None));
        Reply::Answer(record_batch(named.collect()))
    }
    lie("number", 3, &["is of batch 7", "one by one"], "", |_, answer| {
        let n = answer.num_rows();
        replaced(&answer, 0, Arc::new(UInt64Array::from(vec![7; n])))
    });
    lie("order", 3, &["row 1 is of token", "in the order of the request"], "", |_, answer| {
        let mut ids = answer.column(1).as_primitive::<UInt32Type>().values().to_vec();
        ids[1] += 1;
        replaced(&answer, 1, Arc::new(UInt32Array::from(ids)))
    });
    lie("short", 3, &["rows, the batch has", "BOS"], "", |_, answer| {
        Reply::Answer(answer.slice(0, answer.num_rows() - 1))
    });
    lie(
        "columns",
        3,
        &["answers batch 2 with bytes that are no Arrow record batch", "resid_post.2"],
        "",
        |_, answer| Reply::Answer(answer.project(&[0, 1, 2]).unwrap()),
    );
    lie("width", 3, &["answers batch 2 with bytes that are no Arrow record batch"], "", |_, answer| {
        let n = answer.num_rows();
        replaced(&answer, 2, list(Arc::new(Float32Array::from(vec![0.5; n * 32])), 32))
    });
    lie("dtype", 3, &["answers batch 2 with bytes that are no Arrow record batch"], "", |_, answer| {
        let n = answer.num_rows();
        replaced(&answer, 2, list(Arc::new(UInt16Array::from(vec![1; n * 128])), 128))
    });
    lie(
        "nan",
        3,
        &["activation NaN of feature 5 is not finite, document", "context 0, position 3"],
        "",
        |_, answer| {
            let mut values =
                answer.column(2).as_fixed_size_list().values().as_primitive::<Float32Type>().values().to_vec();
            values[3 * 128 + 5] = f32::NAN;
            replaced(&answer, 2, list(Arc::new(Float32Array::from(values)), 128))
        },
    );
    lie("null", 3, &["batch 2", "null"], "", |_, answer| {
        let n = answer.num_rows();
        replaced(&answer, 1, Arc::new(UInt32Array::from(vec![None; n])))
    });
    lie("bytes", 3, &["no Arrow record batch"], "", |_, _| {
        Reply::Bytes(b"Traceback (most recent call last):\n".repeat(9))
    });
    lie("flood", 3, &["batch 2", "bytes"], "", |_, _| {
        // a header that promises a terabyte of metadata is not believed
        let mut bytes = vec![0xff; 4];
        bytes.extend(0x7fff_ffffu32.to_le_bytes());
        bytes.resize(8 << 20, 0);
        Reply::Bytes(bytes)
    });
    lie("silence", 5, &["sent nothing while batch 2 was awaited, for 1 s", "feed.silence"], ", silence = 1", |_, _| {
        Reply::Silence
    });
    lie("death", 5, &["its feed ended while batch 2 was awaited"], "", |_, _| Reply::Death);
}

#[test]
fn a_feed_whose_model_is_another_does_not_take_a_run_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (socket, out) = (path("feed.sock"), path("out"));
    serve(&socket, Some("revision 1"), |number, answer| if number < 15 { Reply::Answer(answer) } else { Reply::Death });
    let flow = fed(folder.path(), &socket, "", &[("[checkpoint]", "[check]\ndoctor = \"off\"\n[checkpoint]")]);
    refused(&flow, &out, 5, &["its feed ended while batch 15"]);
    std::fs::remove_file(&socket).unwrap();
    serve(&socket, Some("revision 2"), |_, answer| Reply::Answer(answer));
    refused(&flow, &out, 4, &["models.small-a feed"]);
    std::fs::remove_file(&socket).unwrap();
    serve(&socket, Some("revision 1"), |_, answer| Reply::Answer(answer));
    run(&flow, &out, &["--quiet"]);
}

#[test]
fn a_feed_that_does_not_begin_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let by = |name: &str, feed: &str| {
        let own = folder.path().join(name);
        std::fs::create_dir(&own).unwrap();
        let feed = format!("feed = {{ {feed} }}\ntokenizer = \"data/demo/models/small-a\"\n");
        (small_demo(&own, &[("path = \"data/demo/models/small-a\"\n", &feed)]), own.join("out"))
    };
    let shell = |script: &str| format!("command = [\"sh\", \"-c\", {script:?}], wait = 2");
    let cases = [
        ("none", "command = [\"no-such-program\"]".to_string(), 2, "its feed cannot be started: no-such-program"),
        ("dead", shell("exit 3"), 5, "its feed ended (exit status: 3) while the greeting was awaited"),
        ("talk", shell("read line; echo Loading weights; sleep 1"), 3, "its feed began with \"Loading weights\""),
        ("old", shell("read line; echo '{\"cognate_feed\": 0}'; sleep 1"), 3, "version 0 of the protocol"),
        ("mute", shell("read line; exec sleep 30"), 5, "sent nothing while the greeting was awaited, for 2 s"),
        ("away", "socket = \"/nowhere/feed.sock\", wait = 1".to_string(), 5, "no feed listens at /nowhere/feed.sock"),
    ];
    for (name, feed, code, words) in cases {
        let (flow, out) = by(name, &feed);
        let started = std::time::Instant::now();
        refused(&flow, &out, code, &["model \"small-a\"", words]);
        assert!(started.elapsed() < Duration::from_secs(25), "{name} took {:?}", started.elapsed());
        assert!(!out.join("manifest.json").exists(), "{name}");
    }
}

#[test]
fn keys_of_feeds_are_honoured_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let a = "path = \"data/demo/models/small-a\"\n";
    let folder_of = "tokenizer = \"data/demo/models/small-a\"\n";
    let feed = "feed = { socket = \"s\" }\n";
    let with = |keys: &[&str]| keys.concat();
    let cases = [
        (String::new(), "models.small-a: path is missing"),
        (with(&[a, feed, folder_of]), "both path and feed"),
        (with(&[feed]), "models.small-a: tokenizer is missing"),
        (with(&[a, folder_of]), "tokenizer changes nothing here"),
        (with(&[a, "d_model = 128\n"]), "d_model changes nothing here"),
        (with(&["feed = {}\n", folder_of]), "neither command nor socket"),
        (with(&["feed = { command = [\"x\"], socket = \"s\" }\n", folder_of]), "both command and socket"),
        (with(&["feed = { socket = \"s\", silence = 0 }\n", folder_of]), "feed.silence is 0, expected 1 to"),
        (with(&[feed, folder_of, "random_weights = 1\n"]), "cannot be drawn"),
        (with(&[feed, folder_of, "layers = 4\n"]), "layers goes with d_model"),
        (
            with(&[feed, folder_of, "d_model = 128\nlayers = 4\n[controls.c]\nrandom_weights = 1\n"]),
            "controls.c.random_weights",
        ),
        (with(&[feed, folder_of, "d_model = 32\n"]), "hookpoint resid_post.1 of model \"small-a\" is 32 wide"),
        (with(&[feed, folder_of, "d_model = 128\nlayers = 1\n"]), "names block 1, the model has 1 blocks"),
        (with(&[feed, "tokenizer = \"tests\"\n"]), "its width is not known"),
        (with(&[feed, "tokenizer = \"nowhere\"\n"]), "models.small-a.tokenizer: nowhere is not there"),
        (with(&["feed = { sockets = \"s\" }\n", folder_of]), "sockets"),
        (with(&["feed = { command = \"python feed.py\" }\n", folder_of]), "for example [\"python\", \"feed.py\"]"),
        (with(&["feed = { socket = \"s\", wait = \"soon\" }\n", folder_of]), "\"90s\", \"5m\" or \"2h\""),
        // a time as people write it: 8 days
        (
            with(&["feed = { socket = \"s\", silence = \"192h\" }\n", folder_of]),
            "feed.silence is 691200, expected 1 to 604800",
        ),
    ];
    for (keys, words) in cases {
        let flow = small_demo(folder.path(), &[(a, &keys)]);
        let output = cognate().arg("plan").arg(&flow).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(words), "{keys}: no {words:?} in {said}");
    }
    let a_sae = "path = \"data/demo/saes/small-a/layers.1\"\n";
    let of_feed = with(&[feed, folder_of]);
    let latents = "fed = { d_sae = 1024 }\n";
    let cases = [
        (of_feed.as_str(), with(&[""]), "saes.\"small-a/resid_post.1\": path is missing"),
        (&of_feed, with(&[a_sae, latents]), "both path and fed"),
        (a, with(&[latents]), "its model has no feed"),
        (&of_feed, with(&[latents, "scale = 2.0\n"]), "scale changes nothing here"),
        (&of_feed, with(&["fed = { d_sae = 10, most = 11 }\n"]), "d_sae = 10 and most = 11"),
        (&of_feed, with(&[latents, "[controls.c]\nrandom_saes = 1\n"]), "cannot be drawn here"),
        (&of_feed, with(&[latents]), "estimate.activation_measures needs the activations at every place"),
    ];
    for (model, sae, words) in cases {
        let flow = small_demo(folder.path(), &[(a, model), (a_sae, &sae)]);
        let output = cognate().arg("plan").arg(&flow).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(words), "{sae}: no {words:?} in {said}");
    }
    // places that are not as wide as the stream need sizes
    let keys = with(&[feed, folder_of, "d_model = 128\n"]);
    let place = (
        "pairs = \"all\"",
        "pairs = [[\"small-a/mlp_act.1\", \"small-b/resid_post.3\"], [\"small-a/resid_post.1\", \"small-a/resid_post.2\"]]",
    );
    let flow = small_demo(folder.path(), &[(a, &keys), place]);
    let output = cognate().arg("plan").arg(&flow).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("write sizes = {…}"), "{output:?}");
}
