//! Tokenizers of two models that differ in what texts may never show: which of them can be one, and is every text on which they differ found?
//! The oracle is plain: both cut the whole document.

use super::{TIGHT, cases, options, tokenizer};
use crate::corpus::record::Limits;
use crate::corpus::{Corpus, CorpusOptions, OnBadRecord, TokenBatch, Tokenizer};
use crate::error::Result;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// The demo's tokenizer with a change.
fn changed(change: impl FnOnce(&mut Value)) -> Tokenizer {
    let text = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/data/demo/models/small-a/tokenizer.json")).unwrap();
    let mut file: Value = serde_json::from_slice(&text).unwrap();
    change(&mut file);
    Tokenizer::from_bytes("changed", file.to_string().as_bytes()).unwrap()
}

fn added(content: &str, id: u32, normalized: bool) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": normalized, "special": !normalized})
}

/// With `<pad>` behind the vocabulary.
fn padded() -> Tokenizer {
    changed(|file| file["added_tokens"].as_array_mut().unwrap().push(added("<pad>", 4096, false)))
}

fn beside(first: &Tokenizer, second: &Tokenizer) -> Arc<Tokenizer> {
    Arc::new(first.clone().beside(["a", "b"], Arc::new(second.clone())))
}

#[test]
fn tokenizers_that_differ_in_added_tokens_or_behind_a_vocabulary_may_be_one_and_others_may_not() {
    let demo = tokenizer();
    let without_merge = |k: usize| {
        changed(|file| {
            let merge = file["model"]["merges"].as_array_mut().unwrap().remove(k);
            let token: String = merge.as_array().unwrap().iter().map(|part| part.as_str().unwrap()).collect();
            file["model"]["vocab"].as_object_mut().unwrap().remove(&token);
        })
    };
    let others = [
        (padded(), true),
        (without_merge(3838), true),
        // in the middle: other merges come in its place
        (changed(|file| drop(file["model"]["merges"].as_array_mut().unwrap().remove(100))), false),
        (changed(|file| file["added_tokens"][0]["lstrip"] = true.into()), true),
        (changed(|file| file["pre_tokenizer"]["add_prefix_space"] = true.into()), false),
        (changed(|file| file["normalizer"] = json!({"type": "NFC"})), false),
        (changed(|file| file["model"]["ignore_merges"] = true.into()), false),
        (changed(|file| file["model"]["vocab"]["one more"] = 4096.into()), true),
        // two ids change places
        (
            changed(|file| {
                let vocab = file["model"]["vocab"].as_object_mut().unwrap();
                let (a, b) = (vocab["since"].clone(), vocab["Ġsupported"].clone());
                (vocab["since"], vocab["Ġsupported"]) = (b, a);
            }),
            false,
        ),
    ];
    for (k, (other, may)) in others.iter().enumerate() {
        assert!(!demo.cuts_as(other), "{k}");
        assert_eq!((demo.may_cut_as(other), other.may_cut_as(&demo)), (*may, *may), "{k}");
    }
    assert!(demo.may_cut_as(&demo) && demo.cuts_as(&demo));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers");
    let kinds = ["gemma_sp", "gpt2_bpe", "llama3_bpe", "llama_sp", "neox_bpe", "opt_bpe", "qwen_bpe"];
    let all = kinds.map(|kind| Tokenizer::from_folder(&folder.join(kind)).unwrap());
    for (i, a) in all.iter().enumerate() {
        for (j, b) in all.iter().enumerate() {
            assert_eq!(a.may_cut_as(b), i == j, "{} {}", kinds[i], kinds[j]);
        }
    }
}

#[test]
fn nothing_is_checked_beside_one_that_cuts_alike_and_nothing_twice() {
    let (demo, padded) = (tokenizer(), padded());
    assert_eq!(beside(&demo, &demo).checked().count(), 0);
    assert_eq!(demo.disagreement("<pad>").unwrap(), None, "nobody to disagree with");
    let both = beside(&demo, &padded);
    let thrice = (*both).clone().beside(["a", "c"], Arc::new(padded.clone()));
    assert_eq!(thrice.checked().count(), 1);
    let (models, difference) = both.checked().next().unwrap();
    assert_eq!(models, &["a", "b"]);
    assert!(difference.contains("id 4096 is no token and \"<pad>\""), "{difference}");
    assert_eq!((both.checked_vocabulary(), both.shared_vocabulary()), (4097, 4096));
    assert!(both.shares(&padded, 17) && !both.shares(&padded, 4096));
}

fn read(files: &[String], tokenizer: Arc<Tokenizer>, skip: bool) -> Result<(Vec<TokenBatch>, u64)> {
    read_within(TIGHT, files, tokenizer, skip)
}

fn read_within(
    limits: Limits,
    files: &[String],
    tokenizer: Arc<Tokenizer>,
    skip: bool,
) -> Result<(Vec<TokenBatch>, u64)> {
    let on_bad_record = if skip { OnBadRecord::Skip } else { OnBadRecord::Error };
    let options = CorpusOptions { on_bad_record, ..options(files, 8) };
    let mut corpus = Corpus::open_within(options, vec![tokenizer], limits)?;
    let mut batches = Vec::new();
    while let Some(batch) = corpus.next_batch()? {
        batches.push(batch);
    }
    Ok((batches, corpus.progress().skipped_records))
}

#[test]
fn a_text_that_two_cut_differently_is_named_with_byte_and_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let (file, text) = (folder.path().join("a.jsonl"), folder.path().join("a.txt"));
    let long = "a line of text \n".repeat(40);
    let document = |text: &str| format!("{}\n", json!({ "text": text }));
    std::fs::write(&file, ["first", &format!("{long}é <pad>!"), "third"].map(document).concat()).unwrap();
    let files = [file.display().to_string()];
    for (first, second, tokens) in [
        (
            tokenizer(),
            Arc::new(padded()),
            r#"" <" "p" "ad" ">" (ids 710, 80, 329, 30) and " " "<pad>" (ids 221, 4096)"#,
        ),
        (
            Arc::new(padded()),
            tokenizer(),
            r#"" " "<pad>" (ids 221, 4096) and " <" "p" "ad" ">" (ids 710, 80, 329, 30)"#,
        ),
    ] {
        let both = beside(&first, &second);
        let error = read_within(Limits::default(), &files, both.clone(), false).unwrap_err().to_string();
        for words in [
            &format!("a.jsonl:2: at byte {}, the tokenizers of models \"a\" and \"b\" give ", long.len() + 2),
            tokens,
            "compare.align = \"span\" takes both as they are",
            "on_bad_record = \"skip\"",
        ] {
            assert!(error.contains(words), "{words}: {error}");
        }
        // a record that is read in pieces is found by its line and its part
        let part = read(&files, both.clone(), false).unwrap_err().to_string();
        assert!(
            part.contains("a.jsonl:2: at byte")
                && part.contains("of the part that begins with")
                && part.contains(tokens),
            "{part}"
        );
        let (batches, skipped) = read_within(Limits::default(), &files, both.clone(), true).unwrap();
        assert_eq!(skipped, 1);
        let documents: Vec<&str> = batches.iter().flat_map(|b| &b.documents).map(|d| &*d.name).collect();
        assert!(
            documents.first().unwrap().ends_with(":1") && documents.last().unwrap().ends_with(":3"),
            "{documents:?}"
        );
        // a text file is read piece by piece, and its place in the file is the line
        std::fs::write(&text, format!("{long}é <pad>!")).unwrap();
        let error = read(&[text.display().to_string()], both, false).unwrap_err().to_string();
        assert!(error.contains("a.txt:") && error.contains("of the part that begins with"), "{error}");
    }
}

#[test]
fn ready_made_ids_are_the_same_tokens_in_both() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.bin");
    let write =
        |ids: &[u16]| std::fs::write(&path, ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    let both = beside(&padded(), &tokenizer());
    let files = [path.display().to_string()];
    write(&[17, 18, 19, 0, 20]);
    assert_eq!(read(&files, both.clone(), false).unwrap().0, read(&files, tokenizer(), false).unwrap().0);
    write(&[17, 18, 19, 0, 20, 4096]);
    assert!(read(&files, Arc::new(padded()), false).is_ok());
    let error = read(&files, both, false).unwrap_err().to_string();
    assert!(error.contains("id 4096 at position 1 is \"<pad>\" of model \"a\" and no token of model \"b\""), "{error}");
}

proptest! {
    #![proptest_config(cases(192))]

    /// Read by both, in pieces with margins: the contexts of either one alone where whole documents are cut alike, else the document's name.
    #[test]
    fn what_is_read_is_cut_alike_by_both(
        documents in prop::collection::vec(
            prop::collection::vec(prop::sample::select(vec!["<pad>", "<pa", "d>", " the", "since", "é", "\n", "x", "  ", "<|endoftext|>", "🙂"]), 1..40),
            1..6,
        ),
        kind in 0usize..3,
        swap in any::<bool>(),
    ) {
        let other = match kind {
            0 => padded(),
            1 => changed(|file| file["added_tokens"].as_array_mut().unwrap().push(added("  x", 4096, true))),
            _ => changed(|file| file["added_tokens"].as_array_mut().unwrap().push(added("🙂", 4095, false))),
        };
        let other = Arc::new(other);
        let (first, second) = if swap { (other, tokenizer()) } else { (tokenizer(), other) };
        let texts: Vec<String> = documents.iter().map(|parts| parts.concat()).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let lines: String = texts.iter().map(|text| format!("{}\n", json!({ "text": text }))).collect();
        std::fs::write(&path, lines).unwrap();
        let files = [path.display().to_string()];
        let differs = |text: &String| first.encode(text).unwrap() != second.encode(text).unwrap();
        let bad: Vec<usize> = (0..texts.len()).filter(|&k| differs(&texts[k])).collect();
        let both = beside(&first, &second);
        let found = read(&files, both.clone(), false);
        match bad.first() {
            Some(k) => {
                let error = found.unwrap_err().to_string();
                prop_assert!(error.contains(&format!("a.jsonl:{}: at byte", k + 1)), "{} {}", k, error);
                // the byte is that of the first token that differs
                let error = read_within(Limits::default(), &files, both.clone(), false).unwrap_err().to_string();
                let [a, b] = [&first, &second].map(|t| t.encode_with_starts(&texts[*k]).unwrap());
                let at = (0..).find(|&at| a.get(at) != b.get(at)).unwrap();
                let byte = a.get(at).into_iter().chain(b.get(at)).map(|token| token.1).min().unwrap();
                prop_assert!(error.contains(&format!("at byte {byte},")), "{} {}", byte, error);
                prop_assert_eq!(read_within(Limits::default(), &files, both, true).map_or(bad.len() as u64, |read| read.1), bad.len() as u64);
            }
            // a corpus of nothing but EOS gives no context
            None => match (found, read(&files, first.clone(), false), read(&files, second.clone(), false)) {
                (Ok(found), Ok(a), Ok(b)) => prop_assert!(found == a && a == b),
                (Err(found), Err(a), _) => prop_assert_eq!(found.to_string(), a.to_string()),
                (found, a, _) => prop_assert!(false, "{:?} {:?}", found.is_ok(), a.is_ok()),
            },
        }
    }
}
