//! The same for Cognate's own files (dataflow, manifest, state, tables), for the small files of weights and tokenizers,
//! for corpora of ids and plain texts, and for endless nesting.

use super::*;
use cognate::spec::DataflowSpec;
use cognate::store::{Manifest, RunDir, StateLayout, StateReader, TableSet};
use cognate::table::{HistoryRow, PairCounts, SitePair, TableReader, write_into};

fn copy(from: &Path, to: &Path, files: &[&str]) {
    std::fs::create_dir_all(to).unwrap();
    for file in files {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

/// Where the digits and names of a text stand: anywhere.
fn text(bytes: Vec<u8>) -> Vec<(Vec<u8>, Vec<(usize, usize)>)> {
    vec![(bytes, Vec::new())]
}

#[test]
fn dataflow_files() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let mut whole = Vec::new();
    for name in ["demo.toml", "demo-controls.toml", "demo-three.toml", "smollm2-layers.toml"] {
        let path = common::project().join("dataflows").join(name);
        whole.extend(std::fs::read(path).map(text).unwrap_or_default());
    }
    assert!(whole.len() > 1);
    // word lists are read from where the file says, relative to the working directory
    whole.iter_mut().for_each(|(bytes, _)| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("categories"));
        *bytes = lines.map(|line| format!("{line}\n")).collect::<String>().into_bytes();
    });
    let format = Format { name: "dataflow file", file: "flow.toml", whole, text: true, factor: 400 };
    hammer(format, folder.path(), |folder| DataflowSpec::read(&folder.join("flow.toml")).map(drop));
}

/// A run directory with a checkpoint of one state file, and a set of one table.
fn small_run(root: &Path) -> (RunDir, Manifest) {
    let run = RunDir::open_or_create(root).unwrap();
    let mut manifest = Manifest::new("f00d".into(), [("seed".to_string(), "0".to_string())].into());
    (manifest.next_batch, manifest.rows) = (3, 300);
    let layout = StateLayout::new(serde_json::json!({"kind": "moments", "n_rows": 300}))
        .tensor::<f64>("mean", &[8])
        .tensor::<u32>("rows", &[2, 3]);
    let mut file = run.write_state(3, "moments-0000", layout).unwrap();
    file.put("mean", &[0.5f64; 8]).unwrap();
    file.put("rows", &[7u32; 6]).unwrap();
    let done = file.finish().unwrap();
    manifest.files.insert(done.path, done.record);
    run.commit(&manifest).unwrap();
    let mut set = run.new_set().unwrap();
    write_into(&mut set, vec!["mutual.cka".to_string()], &Default::default(), history()).unwrap();
    set.publish(Default::default(), false).unwrap();
    (run, manifest)
}

fn history() -> Vec<HistoryRow> {
    let pair = Arc::new(SitePair { source: "a/embed".parse().unwrap(), target: "b/resid_post.3".parse().unwrap() });
    let row = |snapshot: u32| HistoryRow {
        snapshot,
        tokens: u64::from(snapshot) * 100,
        pair: pair.clone(),
        counts: PairCounts::default(),
        repeated_contexts: Some(0.25),
        repeated_contexts_error: None,
        churn: (snapshot > 1).then_some(0.5),
        measures: vec![Some(0.125)],
    };
    (1..40).map(row).collect()
}

#[test]
fn manifests_state_and_sets() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let (run, manifest) = small_run(folder.path());
    drop(run);
    let state = manifest.files.keys().next().unwrap().clone();
    let read = |file: &str| std::fs::read(folder.path().join(file)).unwrap();
    let kinds = [ErrorKind::State, ErrorKind::Request];
    let bytes = read("manifest.json");
    let format = Format { name: "manifest", file: "manifest.json", whole: text(bytes.clone()), text: true, factor: 64 };
    hammer_as(&kinds, format, folder.path(), |folder| Manifest::read(&folder.join("manifest.json")).map(drop));
    std::fs::write(folder.path().join("manifest.json"), bytes).unwrap();

    let bytes = read(&state);
    let places = safetensors_structure(&bytes);
    let whole = vec![(bytes.clone(), places)];
    let format = Format { name: "state file", file: &state, whole, text: false, factor: 64 };
    hammer_as(&kinds, format, folder.path(), |folder| {
        let mut file = StateReader::open(&folder.join(&state), None)?;
        file.number("n_rows")?;
        file.tensor::<f64>("mean")?;
        file.tensor::<u32>("rows")?;
        Ok(())
    });
    std::fs::write(folder.path().join(&state), bytes).unwrap();

    let sets = std::fs::read_dir(folder.path().join("tables")).unwrap().map(|e| e.unwrap().file_name());
    let sets: Vec<String> =
        sets.map(|name| name.into_string().unwrap()).filter(|name| !name.ends_with(".parquet")).collect();
    let [name] = &sets[..] else { panic!("{sets:?}") };
    let file = format!("tables/{name}");
    let format = Format { name: "set of tables", file: &file, whole: text(read(&file)), text: true, factor: 64 };
    hammer_as(&kinds, format, folder.path(), |folder| TableSet::open(&RunDir::at(folder)?).map(drop));
}

#[test]
fn tables() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let (run, _) = small_run(&folder.path().join("run"));
    let bytes = std::fs::read(TableSet::open(&run).unwrap().path("history")).unwrap();
    let n = bytes.len();
    let whole = vec![(bytes, vec![(n / 2, n), (n - 600, n), (0, 200)])];
    let format = Format { name: "table", file: "history.parquet", whole, text: false, factor: 400 };
    hammer(format, folder.path(), |folder| {
        TableReader::<HistoryRow>::open(&folder.join("history.parquet")).and_then(TableReader::read_all).map(drop)
    });
}

/// A safetensors file of these tensors.
fn tensors(of: &[(&str, safetensors::Dtype, &[usize], Vec<u8>)]) -> Vec<u8> {
    let views = of.iter().map(|(name, dtype, shape, bytes)| {
        (*name, safetensors::tensor::TensorView::new(*dtype, shape.to_vec(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn rows_in_files() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let rows = (0..160).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let ids = (0..20i64).flat_map(i64::to_le_bytes).collect();
    let bytes =
        tensors(&[("acts", safetensors::Dtype::F32, &[20, 8], rows), ("ids", safetensors::Dtype::I64, &[20], ids)]);
    let places = safetensors_structure(&bytes);
    let whole = vec![(bytes, places)];
    let format = Format { name: "rows", file: "rows.safetensors", whole, text: false, factor: 64 };
    hammer(format, folder.path(), |folder| {
        let rows = cognate::weights::RowFile::open(&folder.join("rows.safetensors"), "resid_post.0", None)?;
        rows.read(0, &mut vec![0f32; rows.n_rows() as usize * rows.width()])?;
        rows.ids(0, rows.n_rows() as usize).map(drop)
    });
}

#[test]
fn latent_caches() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let places = (0..40u16).flat_map(|i| [i / 4, i % 4, i % 7]).flat_map(u16::to_le_bytes).collect();
    let tokens = (0..40i64).flat_map(i64::to_le_bytes).collect();
    let bytes = tensors(&[
        ("locations", safetensors::Dtype::U16, &[40, 3], places),
        ("activations", safetensors::Dtype::F16, &[40], [0u8, 60].repeat(40)),
        ("tokens", safetensors::Dtype::I64, &[10, 4], tokens),
    ]);
    let structure = safetensors_structure(&bytes);
    let whole = vec![(bytes, structure)];
    let format = Format { name: "latent cache", file: "0_9.safetensors", whole, text: false, factor: 200 };
    hammer(format, folder.path(), |folder| {
        let cache = cognate::weights::LatentCache::open(folder)?;
        cache.entries(0..cache.n_sequences(), |_| Ok(()))?;
        if cache.n_sequences() > 0 {
            cache.first_difference(0, &vec![0; cache.length()])?;
        }
        Ok(())
    });
}

#[test]
fn configurations_of_saes() {
    let _turn = turn();
    for (name, config, weights) in [
        ("sparsify/topk/layers.1", "cfg.json", "sae.safetensors"),
        ("sae_lens/gated", "cfg.json", "sae_weights.safetensors"),
        ("sae_lens/jumprelu", "cfg.json", "sae_weights.safetensors"),
        ("dictionary_learning/jumprelu", "config.json", "ae.pt"),
        ("dictionary_learning/batchtopk", "config.json", "ae.pt"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let from = own("saes").join(name);
        copy(&from, folder.path(), &[weights]);
        let whole = text(std::fs::read(from.join(config)).unwrap());
        let format = Format { name, file: config, whole, text: true, factor: 64 };
        hammer(format, folder.path(), run_sae);
    }
}

#[test]
fn companions_of_tokenizers() {
    let _turn = turn();
    let from = own("tokenizers/qwen_bpe");
    let there = |file: &str| from.join(file).is_file();
    for file in ["tokenizer_config.json", "special_tokens_map.json"].into_iter().filter(|file| there(file)) {
        let folder = tempfile::tempdir().unwrap();
        copy(&from, folder.path(), &["tokenizer.json"]);
        let whole = text(std::fs::read(from.join(file)).unwrap());
        let format = Format { name: file, file, whole, text: true, factor: 4000 };
        hammer(format, folder.path(), |folder| Tokenizer::from_folder(folder).map(|t| use_tokenizer(&t)));
    }
}

#[test]
fn corpora_of_ids_and_plain_texts() {
    let _turn = turn();
    let tokenizer = Arc::new(Tokenizer::from_file(&own("tokenizers/gpt2_bpe/tokenizer.json")).unwrap());
    let ids: Vec<u8> = (0..4000u32).flat_map(|i| ((i * 7 % 200) as u16).to_le_bytes()).collect();
    let lines: String = (0..300).map(|i| format!("line {i} of a text, naïve and 東京\r\n\n")).collect();
    let lists = {
        let mut lists = arrow::array::ListBuilder::new(arrow::array::UInt32Builder::new());
        (0..60u32).for_each(|i| lists.append_value((0..i % 40).map(|k| Some(k * 3 % 200))));
        let column: arrow::array::ArrayRef = Arc::new(lists.finish());
        let batch = arrow::record_batch::RecordBatch::try_from_iter([("tokens", column)]).unwrap();
        let mut out = Vec::new();
        let mut writer = parquet::arrow::ArrowWriter::try_new(&mut out, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        out
    };
    let n = lists.len();
    for (file, bytes, places, is_text, more) in [
        ("c.bin", ids, vec![], false, serde_json::json!({})),
        ("c.txt", lines.into_bytes(), vec![], true, serde_json::json!({"text_unit": "paragraph"})),
        ("c.parquet", lists, vec![(n - 600, n), (n - 600, n), (0, 100)], false, serde_json::json!({"ids": "tokens"})),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for skip in ["error", "skip"] {
            let format =
                Format { name: file, file, whole: vec![(bytes.clone(), places.clone())], text: is_text, factor: 400 };
            hammer(format, folder.path(), |folder| {
                let mut options = serde_json::json!({
                    "files": [folder.join(file)], "context_length": 16, "bos": "none", "on_bad_record": skip
                });
                options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                let options: CorpusOptions =
                    serde_json::from_value(options).map_err(|e| Error::request(e.to_string()))?;
                let mut corpus = Corpus::open(options, tokenizer.clone())?;
                while corpus.next_batch()?.is_some() {}
                Ok(())
            });
        }
    }
}

/// What is nested without end asks for stack, and a stack that is spent ends the process.
#[test]
fn what_is_nested_without_end_is_refused() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let write = |file: &str, text: &str| std::fs::write(place.join(file), text).unwrap();
    let refused = |what: &str, result: Result<()>| {
        let error = result.expect_err(what);
        assert!(matches!(error.kind(), ErrorKind::Input | ErrorKind::Request | ErrorKind::State), "{what}: {error}");
        assert!(error.to_string().contains(place.to_str().unwrap()), "{what} names no file: {error}");
        assert!(error.to_string().len() < 4000, "{what}: the message is as long as the file");
    };
    let tokenizer = own("tokenizers/gpt2_bpe/tokenizer.json");
    let usual = Arc::new(Tokenizer::from_file(&tokenizer).unwrap());
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(300_000), close.repeat(300_000));
        let object = format!("{{\"model_type\": \"gpt2\", \"x\": {deep}}}");
        write("config.json", &object);
        refused("config.json", cognate::model::described(place).map(drop));
        write("tokenizer.json", &object);
        refused("tokenizer.json", Tokenizer::from_folder(place).map(drop));
        std::fs::copy(&tokenizer, place.join("tokenizer.json")).unwrap();
        write("tokenizer_config.json", &object);
        refused("tokenizer_config.json", Tokenizer::from_folder(place).map(drop));
        std::fs::remove_file(place.join("tokenizer_config.json")).unwrap();
        write("manifest.json", &object);
        refused("manifest.json", Manifest::read(&place.join("manifest.json")).map(drop));
        let from = own("saes/sae_lens/gated");
        copy(&from, &place.join("sae"), &["sae_weights.safetensors"]);
        std::fs::write(place.join("sae/cfg.json"), &object).unwrap();
        refused("cfg.json", cognate::sae::header(&place.join("sae"), None).map(drop));
        let header = format!("{{\"t\":{deep}}}");
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
        std::fs::copy(own("configs/llama3_tied_scaled.json"), place.join("config.json")).unwrap();
        std::fs::write(place.join("model.safetensors"), bytes).unwrap();
        refused("model.safetensors", cognate::model::header(place).map(drop));
        let options: CorpusOptions = serde_json::from_value(
            serde_json::json!({"files": [place.join("c.jsonl")], "context_length": 16, "bos": "none"}),
        )
        .unwrap();
        let read = || -> Result<()> {
            let mut corpus = Corpus::open(options.clone(), usual.clone())?;
            while corpus.next_batch()?.is_some() {}
            Ok(())
        };
        write("c.jsonl", &format!("{{\"text\": {deep}}}\n"));
        refused("c.jsonl", read());
        // a field that is not read is passed over, however deep
        let half = format!("{}1{}", open.repeat(150_000), close.repeat(150_000));
        write("c.jsonl", &format!("{{\"text\": \"a\", \"x\": {half}}}\n"));
        read().unwrap();
    }
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        write("flow.toml", &format!("format = 1\nname = {}1{}\n", open.repeat(100_000), close.repeat(100_000)));
        refused("flow.toml", DataflowSpec::read(&place.join("flow.toml")).map(drop));
    }
    write("flow.toml", &format!("format = 1\n[{}]\n", ["a"; 100_000].join(".")));
    refused("flow.toml, a long key", DataflowSpec::read(&place.join("flow.toml")).map(drop));
}
