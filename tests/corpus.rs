//! The corpus room against the answers of the Python libraries: ids and spans of seven kinds of tokenizer, and the six
//! ways of cutting of the end-to-end fixture.

use cognate::corpus::{BosRule, Corpus, CorpusOptions, Remainder, TokenBatch, Tokenizer};
use common::fixture;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

mod common;
#[path = "corpus/tokenizer_files.rs"]
mod tokenizer_files;

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn spans(value: &Value) -> Vec<(usize, usize)> {
    let pair = |span: &Value| (span[0].as_u64().unwrap() as usize, span[1].as_u64().unwrap() as usize);
    value.as_array().unwrap().iter().map(pair).collect()
}

#[test]
fn tokenizers_give_the_ids_spans_and_texts_of_the_python_library() {
    let folder = fixture("tokenizers");
    // (folder, BOS, EOS, padding), by their companions.
    let kinds = [
        ("gemma_sp", Some(2), Some(1), Some(0)),
        ("gpt2_bpe", Some(351), Some(351), None),
        ("llama3_bpe", Some(397), Some(398), None),
        ("llama_sp", Some(1), Some(2), None),
        ("neox_bpe", Some(0), Some(0), Some(1)),
        ("opt_bpe", Some(2), Some(2), Some(1)),
        ("qwen_bpe", None, Some(365), Some(365)),
    ];
    for (name, bos, eos, pad) in kinds {
        let tokenizer = Tokenizer::from_folder(&folder.join(name)).unwrap();
        assert_eq!((tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id()), (bos, eos, pad), "{name}");
        let reference = json(folder.join(name).join("reference.json"));
        assert_eq!(tokenizer.vocab_size() as u64, reference["vocab_size_with_added"].as_u64().unwrap(), "{name}");
        for row in reference["rows"].as_array().unwrap() {
            let text = row["text"].as_str().unwrap();
            assert_eq!(tokenizer.encode(text).unwrap(), ids(&row["ids"]), "{name} {text:?}");
            let encoded = tokenizer.encode_with_offsets(text).unwrap();
            assert_eq!(encoded.ids, ids(&row["ids"]), "{name} {text:?}");
            assert_eq!(encoded.spans, spans(&row["offsets"]), "{name} {text:?}");
            assert_eq!(tokenizer.decode(&encoded.ids).unwrap(), row["decoded"].as_str().unwrap(), "{name} {text:?}");
        }
    }
}

#[test]
fn a_token_alone_reads_with_its_space_and_without_its_marks() {
    let folder = fixture("tokenizers");
    for (name, space) in
        [("gpt2_bpe", "Ġ"), ("neox_bpe", "Ġ"), ("llama3_bpe", "Ġ"), ("llama_sp", "▁"), ("gemma_sp", "▁")]
    {
        let tokenizer = Tokenizer::from_folder(&folder.join(name)).unwrap();
        let reference = json(folder.join(name).join("reference.json"));
        let (mut with_space, mut parts) = (0, 0);
        for row in reference["rows"].as_array().unwrap() {
            for (id, token) in ids(&row["ids"]).into_iter().zip(row["tokens"].as_array().unwrap()) {
                let (token, text) = (token.as_str().unwrap(), tokenizer.token_text(id));
                if token.is_ascii() && !token.starts_with("<0x") {
                    assert_eq!(text, token, "{name}");
                } else if let Some(rest) = token.strip_prefix(space).filter(|rest| rest.is_ascii()) {
                    assert_eq!(text, format!(" {rest}"), "{name}");
                    with_space += 1;
                } else if text.contains('\u{FFFD}') {
                    parts += 1;
                }
                assert!(!text.contains(space), "{name} {token:?} {text:?}");
            }
        }
        assert!(with_space > 20 && parts > 5, "{name}: {with_space} with a space, {parts} parts of characters");
        assert_eq!(tokenizer.token_text(1 << 30), format!("<id {}>", 1 << 30));
        let eos = tokenizer.eos_id().unwrap();
        assert!(tokenizer.is_special(eos) && !tokenizer.is_special(20) && tokenizer.token_text(eos).ends_with('>'));
    }
}

fn batches(corpus: &mut Corpus) -> Vec<TokenBatch> {
    std::iter::from_fn(|| corpus.next_batch().unwrap()).collect()
}

fn options(text: String) -> CorpusOptions {
    serde_json::from_str(&text).unwrap()
}

#[test]
fn six_ways_of_cutting_give_the_chunks_of_the_reference() {
    let folder = fixture("e2e");
    let tokenizer = Arc::new(Tokenizer::from_folder(&folder.join("model_A")).unwrap());
    let chunks = json(folder.join("chunks.json"));
    let manifest = json(folder.join("manifest.json"));
    let file = folder.join("corpus.jsonl").display().to_string();
    for (mode, bos, remainder, count_special) in [
        ("bos_keep_excl", BosRule::Context, Remainder::Keep, false),
        ("bos_keep_incl", BosRule::Context, Remainder::Keep, true),
        ("bos_drop_excl", BosRule::Context, Remainder::Drop, false),
        ("bosdoc_keep_excl", BosRule::Document, Remainder::Keep, false),
        ("nobos_keep", BosRule::None, Remainder::Keep, false),
        ("nobos_drop", BosRule::None, Remainder::Drop, false),
    ] {
        let files = serde_json::to_string(&file).unwrap();
        let options = CorpusOptions {
            bos,
            remainder,
            count_special,
            ..options(format!("{{\"files\": [{files}], \"context_length\": 64}}"))
        };
        let mut corpus = Corpus::open(options, tokenizer.clone()).unwrap();
        let mut found = Vec::new();
        let mut rows = 0;
        for batch in batches(&mut corpus) {
            assert_eq!(batch.first_row, rows, "{mode}");
            rows += batch.n_rows() as u64;
            for context in &batch.views[0].contexts {
                let first = context.tokens().next().expect("a context has rows").0;
                let document = batch.document_of(first);
                assert!(context.tokens().all(|(r, _)| batch.document_of(r).number == document.number));
                assert_eq!(*document.name, document.number.to_string(), "ids of the file are its line numbers");
                let leading = context.row_of.iter().filter(|row| row.is_none()).count() as u64;
                found.push((document.number, leading, context.ids.clone()));
            }
        }
        let of_chunk = |chunk: &Value| {
            let bos = if count_special { 0 } else { chunk["leading_bos"].as_u64().unwrap() };
            (chunk["doc"].as_u64().unwrap(), bos, ids(&chunk["ids"]))
        };
        let expected: Vec<_> = chunks[mode].as_array().unwrap().iter().map(of_chunk).collect();
        assert_eq!(found, expected, "{mode}");
        assert_eq!(rows, manifest["modes"][mode]["rows"].as_u64().unwrap(), "{mode}");
        let progress = corpus.progress();
        assert_eq!((progress.documents, progress.bytes_done), (40, progress.bytes_total), "{mode}");
    }
}

#[test]
fn two_tokenizers_give_the_ids_and_spans_of_the_same_documents() {
    let folder = fixture("crosstok");
    let lines = std::fs::read_to_string(folder.join("corpus.jsonl")).unwrap();
    let texts: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let tokens = json(folder.join("tokens.json"));
    for side in ["L", "N"] {
        let tokenizer = Tokenizer::from_folder(&folder.join(format!("model_{side}"))).unwrap();
        for row in tokens.as_array().unwrap() {
            let text = texts[row["doc"].as_u64().unwrap() as usize]["text"].as_str().unwrap();
            let encoded = tokenizer.encode_with_offsets(text).unwrap();
            assert_eq!(encoded.ids, ids(&row[format!("{side}_ids")]), "{side} {text:?}");
            assert_eq!(encoded.spans, spans(&row[format!("{side}_offsets")]), "{side} {text:?}");
        }
    }
}
