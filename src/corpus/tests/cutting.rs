//! Cutting against the slow plain version, and the rules that no fixture speaks of.

use super::{byte_tokenizer, options, read, tokenizer};
use crate::corpus::record::Limits;
use crate::corpus::{BosRule, Context, Corpus, CorpusOptions, Remainder, TokenBatch};
use crate::error::ErrorKind;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A position: id, and the number of its document where it is a row.
type Position = (u32, Option<u64>);

/// A position being cut: id, whether it is a row, number of its document.
type Cut = (u32, bool, u64);

/// The contexts of `documents`, cut the plain way: the whole corpus in memory, then chunks.
fn plainly(documents: &[Vec<u32>], rules: &CorpusOptions, bos: u32, eos: u32) -> Vec<Vec<Position>> {
    let special = rules.count_special;
    let mut streams: Vec<Vec<Cut>> = Vec::new();
    for (number, ids) in documents.iter().enumerate().filter(|(_, ids)| !ids.is_empty()) {
        let number = number as u64;
        let mut stream = if rules.pack { streams.pop().unwrap_or_default() } else { Vec::new() };
        if let Some(&(_, _, before)) = stream.last() {
            stream.push((eos, special, before));
        }
        if rules.bos == BosRule::Document {
            stream.push((bos, special, number));
        }
        stream.extend(ids.iter().map(|&id| (id, true, number)));
        streams.push(stream);
    }
    let room = rules.context_length - usize::from(rules.bos == BosRule::Context);
    let mut contexts = Vec::new();
    for chunk in streams.iter().flat_map(|stream| stream.chunks(room)) {
        if chunk.len() < room && rules.remainder == Remainder::Drop {
            continue;
        }
        let mut context = chunk.to_vec();
        if rules.bos == BosRule::Context {
            context.insert(0, (bos, special, chunk[0].2));
        }
        contexts.push(context.into_iter().map(|(id, is_row, number)| (id, is_row.then_some(number))).collect());
    }
    contexts
}

fn positions(batches: &[TokenBatch]) -> Vec<Vec<Position>> {
    let of = |batch: &TokenBatch, c: usize| {
        let context = &batch.views[0].contexts[c];
        let number = |r: u32| batch.document_of(r as usize).number;
        let position = |p: usize| (context.ids[p], context.row_of[p].map(number));
        (0..context.ids.len()).map(position).collect()
    };
    batches.iter().flat_map(|batch| (0..batch.views[0].contexts.len()).map(|c| of(batch, c))).collect()
}

fn jsonl(folder: &std::path::Path, documents: &[String]) -> String {
    let path = folder.join("c.jsonl");
    let line = |text: &String| format!("{}\n", serde_json::json!({ "text": text }));
    std::fs::write(&path, documents.iter().map(line).collect::<String>()).unwrap();
    path.display().to_string()
}

pub(super) fn any_rules() -> impl Strategy<Value = (BosRule, Remainder, bool, bool)> {
    let bos = prop_oneof![Just(BosRule::Context), Just(BosRule::Document), Just(BosRule::None)];
    (bos, prop_oneof![Just(Remainder::Keep), Just(Remainder::Drop)], any::<bool>(), any::<bool>())
}

proptest! {
    #![proptest_config(super::cases(96))]

    #[test]
    fn contexts_are_those_of_the_plain_version_for_any_batch_size(
        documents in prop::collection::vec("[a-z é\n]{0,30}", 1..12),
        (bos, remainder, pack, count_special) in any_rules(),
        context_length in 4usize..12,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let files = [jsonl(folder.path(), &documents)];
        let rules = CorpusOptions { bos, remainder, pack, count_special, ..options(&files, context_length) };
        let ids: Vec<Vec<u32>> = documents.iter().map(|text| tokenizer().encode(text).unwrap()).collect();
        let expected = plainly(&ids, &rules, 0, 0);
        for batch_contexts in [1, 3, 16] {
            match read(CorpusOptions { batch_contexts, ..rules.clone() }, Limits::default()) {
                Ok((batches, progress)) => {
                    prop_assert_eq!(positions(&batches), expected.clone());
                    prop_assert!(batches.iter().rev().skip(1).all(|b| b.views[0].contexts.len() == batch_contexts));
                    prop_assert_eq!(progress.documents, documents.len() as u64);
                    let mut rows = 0;
                    for (i, batch) in batches.iter().enumerate() {
                        prop_assert_eq!((batch.index, batch.first_row), (i as u64, rows));
                        rows += batch.n_rows() as u64;
                    }
                }
                Err(e) => prop_assert!(expected.is_empty() && e.kind() == ErrorKind::Input, "{e}"),
            }
        }
    }
}

#[test]
fn special_positions_are_ours_in_text_and_all_frame_ids_in_ready_made_ids() {
    let folder = tempfile::tempdir().unwrap();
    // BOS 0, EOS 1, padding 2; byte b is id b + 3.
    let (path, text) = (folder.path().join("a.bin"), folder.path().join("a.txt"));
    let ids: [u16; 9] = [0, 100, 101, 2, 2, 1, 0, 102, 1];
    std::fs::write(&path, ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<_>>()).unwrap();
    std::fs::write(&text, "a<s>b").unwrap();
    let contexts = |path: &std::path::Path, bos, count_special| {
        let options = CorpusOptions { bos, count_special, ..options(&[path.display().to_string()], 16) };
        let mut corpus = Corpus::open(options, byte_tokenizer()).unwrap();
        let batch = corpus.next_batch().unwrap().unwrap();
        let counted = |c: &Context| c.row_of.iter().map(Option::is_some).collect::<Vec<bool>>();
        batch.views[0].contexts.iter().map(|c| (c.ids.clone(), counted(c))).collect::<Vec<_>>()
    };
    // The BOS of the ids makes room for ours; without ours it stays and is not counted.
    assert_eq!(
        contexts(&path, BosRule::Context, false),
        [(vec![0, 100, 101, 2, 2], vec![false, true, true, false, false]), (vec![0, 102], vec![false, true]),]
    );
    assert_eq!(contexts(&path, BosRule::None, false)[1], (vec![0, 102], vec![false, true]));
    assert_eq!(contexts(&path, BosRule::None, true)[0], (vec![0, 100, 101, 2, 2], vec![true; 5]));
    // A special token that is written out in a text is text.
    assert_eq!(contexts(&text, BosRule::None, false), [(vec![100, 0, 101], vec![true; 3])]);
}

#[test]
fn a_truncation_or_padding_block_of_the_tokenizer_cuts_no_document() {
    let tokenizer = byte_tokenizer();
    assert_eq!(tokenizer.encode("abcdefghijklmnop").unwrap().len(), 16);
    assert_eq!(tokenizer.encode("a").unwrap(), [100]);
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id()), (Some(0), Some(1), Some(2)));
    assert_eq!((tokenizer.vocab_size(), tokenizer.token_text(100)), (259, "a".to_string()));
    assert_eq!((tokenizer.token_text(0xE2 + 3).as_str(), tokenizer.token_text(1).as_str()), ("\u{FFFD}", "</s>"));
}

#[test]
fn max_tokens_stops_behind_the_batch_that_reaches_it() {
    let folder = tempfile::tempdir().unwrap();
    let files = [jsonl(folder.path(), &vec!["one two three four five".to_string(); 40])];
    let rules = CorpusOptions { batch_contexts: 2, ..options(&files, 4) };
    let (all, _) = read(rules.clone(), Limits::default()).unwrap();
    for max_tokens in [1, 6, 7, 1000, 0] {
        let (batches, _) = read(CorpusOptions { max_tokens, ..rules.clone() }, Limits::default()).unwrap();
        let reached = all.iter().position(|b| max_tokens > 0 && b.first_row + b.n_rows() as u64 >= max_tokens);
        assert_eq!(batches, all[..reached.map_or(all.len(), |at| at + 1)], "{max_tokens}");
    }
}

#[test]
fn options_that_leave_no_room_or_need_a_missing_token_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let files = [jsonl(folder.path(), &["text".to_string()])];
    let refused = |options: CorpusOptions| match Corpus::open(options, tokenizer()) {
        Ok(_) => panic!("the options were taken"),
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::Request, "{e}");
            e.to_string()
        }
    };
    let rules = options(&files, 8);
    assert!(refused(options(&files, 1)).contains("context_length is 1"));
    assert!(refused(CorpusOptions { pack: true, ..options(&files, 2) }).contains("at least 3"));
    assert!(refused(CorpusOptions { batch_contexts: 0, ..rules.clone() }).contains("batch_contexts"));
    assert!(refused(CorpusOptions { bin_token_bytes: 3, ..rules.clone() }).contains("bin_token_bytes"));
    assert!(refused(CorpusOptions { ids: Some("ids".into()), ..rules.clone() }).contains("c.jsonl"));
    let plain = folder.path().join("t.txt");
    std::fs::write(&plain, "text").unwrap();
    let labelled = CorpusOptions { labels: vec!["lang".into()], ..options(&[plain.display().to_string()], 8) };
    assert!(refused(labelled).contains("lang"));
    // A tokenizer without BOS whose companions say so.
    let bare = folder.path().join("tokenizer");
    std::fs::create_dir(&bare).unwrap();
    std::fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/data/demo/models/small-a/tokenizer.json"),
        bare.join("tokenizer.json"),
    )
    .unwrap();
    let with = |config: &str| {
        std::fs::write(bare.join("tokenizer_config.json"), config).unwrap();
        std::sync::Arc::new(crate::corpus::Tokenizer::from_folder(&bare).unwrap())
    };
    let none = with("{\"bos_token\": null, \"eos_token\": \"<|endoftext|>\"}");
    let error = Corpus::open(rules.clone(), none.clone()).err().unwrap();
    assert!(error.kind() == ErrorKind::Request && error.to_string().contains("bos = \"none\""), "{error}");
    assert!(Corpus::open(CorpusOptions { bos: BosRule::None, ..rules.clone() }, none).is_ok());
    // No BOS declared: <|endoftext|> begins documents too, as GPT-2 and Pythia use it.
    let unsaid = with("{\"eos_token\": {\"content\": \"<|endoftext|>\"}}");
    assert_eq!((unsaid.bos_id(), unsaid.bos_or_convention()), (None, Some(0)));
    assert_eq!(Corpus::open(rules, unsaid).unwrap().facts().bos, [Some((0, "<|endoftext|>".to_string()))]);
}

#[test]
fn an_eos_written_in_a_text_ends_the_document_as_in_a_file_of_ids() {
    let folder = tempfile::tempdir().unwrap();
    // BOS 0, EOS 1; byte b is id b + 3
    let text = "</s>one</s></s>two two</s>three";
    let paths = ["t.txt", "t.jsonl", "t.bin"].map(|name| folder.path().join(name));
    std::fs::write(&paths[0], text).unwrap();
    std::fs::write(&paths[1], serde_json::json!({ "text": text, "id": "x" }).to_string()).unwrap();
    let ids: Vec<u8> =
        byte_tokenizer().encode(text).unwrap().iter().flat_map(|id| (*id as u16).to_le_bytes()).collect();
    std::fs::write(&paths[2], ids).unwrap();
    let contexts = |path: &std::path::Path, pack, split_at_eos| {
        let options = CorpusOptions { pack, split_at_eos, ..options(&[path.display().to_string()], 8) };
        let mut corpus = Corpus::open(options, byte_tokenizer()).unwrap();
        let mut found = Vec::new();
        while let Some(batch) = corpus.next_batch().unwrap() {
            let of = |c: &Context| {
                let documents: BTreeSet<u64> = c.tokens().map(|(r, _)| batch.document_of(r).number).collect();
                (c.ids.clone(), c.row_of.iter().map(Option::is_some).collect::<Vec<bool>>(), documents.len())
            };
            found.extend(batch.views[0].contexts.iter().map(of));
        }
        (found, corpus.progress().documents)
    };
    for pack in [false, true] {
        let [plain, line, bin] = [0, 1, 2].map(|k| contexts(&paths[k], pack, true));
        assert_eq!(plain.1, 3);
        assert_eq!((&plain, &plain), (&line, &bin), "pack = {pack}");
        if !pack {
            let starts: Vec<u32> = plain.0.iter().map(|(ids, ..)| ids[1]).collect();
            assert_eq!(starts, [b'o', b't', b't'].map(|b| u32::from(b) + 3), "{plain:?}");
            assert!(plain.0.iter().all(|(ids, ..)| !ids.contains(&1)));
        }
    }
    // not split, it is a token like any other
    let [whole, _, _] = [0, 1, 2].map(|k| contexts(&paths[k], false, false));
    assert_eq!(whole.1, 1);
    assert_eq!(whole.0[0].0[..2], [0, 1]);
    assert!(whole.0[0].1[1], "it is counted");
    let options = CorpusOptions { context_length: 16, ..options(&[paths[1].display().to_string()], 16) };
    let batch = Corpus::open(options, byte_tokenizer()).unwrap().next_batch().unwrap().unwrap();
    let names: Vec<(&str, u32)> = batch.documents.iter().map(|d| (&*d.name, d.part)).collect();
    assert_eq!(names, [("x", 0), ("x#2", 1), ("x#3", 2)]);
}

#[test]
fn a_sample_holds_the_same_documents_whatever_lies_before_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let documents = |name: &str| -> Vec<String> { (0..200).map(|i| format!("{name} number {i}")).collect() };
    let [a, b] = ["a", "b"].map(|name| {
        let sub = folder.path().join(name);
        std::fs::create_dir(&sub).unwrap();
        std::fs::rename(jsonl(&sub, &documents(name)), folder.path().join(format!("{name}.jsonl"))).unwrap();
        folder.path().join(format!("{name}.jsonl")).display().to_string()
    });
    let texts = |files: &[String], fraction, seed| -> Vec<String> {
        let sample = Some(crate::corpus::Sample { fraction, seed });
        let (batches, progress) = read(CorpusOptions { sample, ..options(files, 32) }, Limits::default()).unwrap();
        assert_eq!(progress.documents + progress.left_out_documents, 200 * files.len() as u64);
        let numbers: Vec<u64> = batches.iter().flat_map(|b| b.documents.iter().map(|d| d.number)).collect();
        assert_eq!(numbers, (0..progress.documents).collect::<Vec<_>>(), "kept documents are numbered without gaps");
        batches
            .iter()
            .flat_map(|b| b.views[0].contexts.iter().map(|c| tokenizer().decode(&c.ids[1..]).unwrap()))
            .collect()
    };
    let both = texts(&[a.clone(), b.clone()], 0.2, 7);
    assert!((50..110).contains(&both.len()), "{}", both.len());
    assert!(both.iter().filter(|t| t.starts_with('b')).count() > 20);
    assert_eq!(both, [texts(std::slice::from_ref(&a), 0.2, 7), texts(&[b], 0.2, 7)].concat());
    assert_ne!(texts(std::slice::from_ref(&a), 0.2, 8), texts(std::slice::from_ref(&a), 0.2, 7));
    assert_eq!(texts(std::slice::from_ref(&a), 1.0, 7), documents("a"));
    let none = CorpusOptions { sample: Some(crate::corpus::Sample { fraction: 1e-9, seed: 0 }), ..options(&[a], 32) };
    let error = read(none, Limits::default()).unwrap_err().to_string();
    assert!(error.contains("keeps none of the 200 documents"), "{error}");
}
