//! What is wrong in a file is named with its place, or counted and left out, never passed over in silence.

use super::{Kind, TIGHT, options, parquet, read, tokenizer, wrapped, write};
use crate::corpus::record::Limits;
use crate::corpus::{Corpus, CorpusOptions, OnBadRecord, TextUnit};
use crate::error::ErrorKind;
use arrow::array::{ArrayRef, BinaryArray, Int64Array, ListBuilder, StringArray};
use std::path::Path;
use std::sync::Arc;

/// With "error" the run stops with an `Input` error that says all of `parts`; with "skip" it gives `documents` documents
/// and counts `skipped` records.
fn check(options: CorpusOptions, limits: Limits, parts: &[&str], documents: u64, skipped: u64) {
    let error = read(options.clone(), limits).unwrap_err();
    let message = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Input, "{message}");
    for part in parts.iter().chain(&["on_bad_record = \"skip\""]) {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    let skip = CorpusOptions { on_bad_record: OnBadRecord::Skip, ..options };
    let (batches, progress) = read(skip.clone(), limits).unwrap();
    assert_eq!((progress.documents, progress.skipped_records), (documents, skipped), "{:?}", progress.first_skips);
    assert_eq!(progress.bytes_done, progress.bytes_total);
    let first = &progress.first_skips[0];
    assert!(parts.iter().all(|part| first.contains(part)), "{first:?} says not all of {parts:?}");
    // Counters are counted once, wherever reading is taken up again.
    let mut corpus =
        Corpus::open_within(CorpusOptions { batch_contexts: 1, ..skip.clone() }, tokenizer(), limits).unwrap();
    let mut again = Corpus::open_within(CorpusOptions { batch_contexts: 1, ..skip }, tokenizer(), limits).unwrap();
    let mut n_contexts = 0;
    while let Some(batch) = corpus.next_batch().unwrap() {
        assert_eq!(again.next_batch().unwrap(), Some(batch));
        n_contexts += 1;
        again.seek(&corpus.cursor()).unwrap();
        assert_eq!(again.progress(), corpus.progress());
    }
    assert_eq!(again.next_batch().unwrap(), None);
    assert_eq!((again.progress(), n_contexts), (progress, batches.iter().map(|b| b.contexts.len()).sum::<usize>()));
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> CorpusOptions {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    options(&[path.display().to_string()], 8)
}

#[test]
fn malformed_lines_of_json() {
    let folder = tempfile::tempdir().unwrap();
    for (line, parts) in [
        (&b"{\"text\": \"open"[..], &["not a JSON record", "column"][..]),
        (b"{\"text\": \"a\"} {}", &["not a JSON record", "trailing"]),
        (b"[1, 2]", &["not a JSON record", "an object with a text field"]),
        (b"{\"body\": \"a\", \"n\": 1}", &["no field \"text\"", "body, n"]),
        (b"{}", &["no field \"text\"", "has no field"]),
        (b"{\"text\": 7}", &["field \"text\" is a number", "expected a text"]),
        (b"{\"text\": null}", &["field \"text\" is null"]),
        (b"{\"text\": [\"a\"]}", &["field \"text\" is a list"]),
        (b"{\"text\": \"a\xFFb\"}", &["byte 12 is not UTF-8"]),
        (b"{\"text\": \"\\ud800\"}", &["not a JSON record"]),
        (b"\0\0\0\0", &["NUL byte"]),
        (b"{\"text\": \"a\", \"lang\": {}}", &["label field \"lang\" is an object"]),
    ] {
        let mut bytes = b"{\"text\": \"first\"}\n\n".to_vec();
        bytes.extend_from_slice(line);
        bytes.extend_from_slice(b"\n{\"text\": \"last\"}\n");
        let options = CorpusOptions { labels: vec!["lang".into()], ..put(folder.path(), "bad.jsonl", &bytes) };
        let parts: Vec<&str> = parts.iter().copied().chain(["bad.jsonl:3: "]).collect();
        check(options, Limits::default(), &parts, 2, 1);
    }
}

#[test]
fn an_endless_line_is_named_and_left_out_unread() {
    let folder = tempfile::tempdir().unwrap();
    for (behind, documents) in [("\n{\"text\": \"last\"}", 2), ("\n", 1), ("", 1)] {
        let text = format!("{{\"text\": \"first\"}}\n{{\"text\": \"{}\"}}{behind}", "a".repeat(300_000));
        for wrap in ["", ".gz", ".zst"] {
            let bytes = wrapped(text.as_bytes(), wrap, 70_000);
            let options = put(folder.path(), &format!("long.jsonl{wrap}"), &bytes);
            check(options, TIGHT, &["longer than 4096 bytes", ":2: "], documents, 1);
        }
    }
}

#[test]
fn bad_bytes_in_texts() {
    let folder = tempfile::tempdir().unwrap();
    let lines = |bytes: &[u8]| CorpusOptions { text_unit: TextUnit::Line, ..put(folder.path(), "bad.txt", bytes) };
    check(lines(b"one\ntwo \xFF\nthree"), Limits::default(), &["bad.txt:2: byte 0xff is not UTF-8"], 2, 1);
    check(lines(b"one\n\ntwo\0\nthree"), Limits::default(), &["bad.txt:3: a NUL byte"], 2, 1);
    let paragraphs =
        CorpusOptions { text_unit: TextUnit::Paragraph, ..put(folder.path(), "p.txt", b"a\n\nb\nc\xC3\n\nd") };
    check(paragraphs, Limits::default(), &["p.txt:4: byte 0xc3 is not UTF-8"], 2, 1);
    // The rest of a document with a bad piece is left out; the pieces before it stay.
    let long = [&b"good line\n".repeat(9)[..], b"\xFE\n", &b"good line\n".repeat(9)].concat();
    let (_, progress) =
        read(CorpusOptions { on_bad_record: OnBadRecord::Skip, ..put(folder.path(), "f.txt", &long) }, TIGHT).unwrap();
    assert_eq!((progress.documents, progress.skipped_records, progress.split_documents), (1, 1, 1));
}

#[test]
fn cut_off_and_damaged_compression() {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..400)
        .map(|i| format!("{{\"text\": \"document {i} {} and more words than one context holds\"}}\n", i * 7919))
        .collect();
    for wrap in [".gz", ".zst"] {
        let whole = wrapped(text.as_bytes(), wrap, 4000);
        let name = format!("cut.jsonl{wrap}");
        let skip =
            CorpusOptions { on_bad_record: OnBadRecord::Skip, ..put(folder.path(), &name, &whole[..whole.len() / 2]) };
        let kept = read(skip, Limits::default()).unwrap().1.documents;
        assert!((100..300).contains(&kept), "{kept} documents before the cut");
        check(put(folder.path(), &name, &whole[..whole.len() / 2]), TIGHT, &[&name, "cut off", "is lost"], kept, 1);
        // The damage is counted once, also where reading is taken up in the file behind it.
        let first = put(folder.path(), &name, &whole[..whole.len() / 2]);
        let again = put(folder.path(), &format!("again-{name}"), &whole[..whole.len() / 2]);
        let good = put(folder.path(), "g.txt", b"good");
        let files = [&first, &again, &good].map(|o| o.files[0].clone()).to_vec();
        check(CorpusOptions { files, ..first }, TIGHT, &[&name, "cut off"], 2 * kept + 1, 2);
        // A member that is none.
        let odd = [wrapped(text.as_bytes(), wrap, 1 << 20), b"no member".to_vec()].concat();
        check(put(folder.path(), &name, &odd), TIGHT, &[&name, "behind line 400"], 400, 1);
    }
    let error = read(put(folder.path(), "no.jsonl.gz", b"{\"text\": \"plain\"}"), TIGHT).unwrap_err();
    assert!(error.kind() == ErrorKind::Input && error.to_string().contains("no.jsonl.gz"), "{error}");
}

#[test]
fn parquet_that_is_damaged_or_lacks_a_column() {
    let folder = tempfile::tempdir().unwrap();
    let documents: Vec<String> = (0..23).map(|i| format!("document {i} {}", i * 7919)).collect();
    let good = write(folder.path(), Kind::Parquet, "", 0, &documents);
    let bytes = std::fs::read(&good.files[0]).unwrap();
    let cut = put(folder.path(), "cut.parquet", &bytes[..bytes.len() / 2]);
    let error = Corpus::open(cut.clone(), tokenizer()).err().unwrap();
    assert!(error.kind() == ErrorKind::Input && error.to_string().contains("cut.parquet"), "{error}");
    let both = CorpusOptions { files: vec![cut.files[0].clone(), good.files[0].clone()], ..good.clone() };
    check(both, Limits::default(), &["cut.parquet"], 23, 1);
    let mut odd = bytes.clone();
    odd[4..40].fill(0xAA);
    check(
        put(folder.path(), "odd.parquet", &odd),
        Limits::default(),
        &["odd.parquet: row group 0", "5 rows are lost"],
        18,
        1,
    );

    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]));
    let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![&b"a"[..], b"\xFF", b"c"]));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let mut lists = ListBuilder::new(Int64Array::builder(4));
    for id in [5, -5, 1 << 40] {
        lists.append_value([Some(7), Some(id)]);
    }
    let path = folder.path().join("n.parquet");
    parquet(&path, vec![("text", texts), ("bytes", bytes), ("n", numbers), ("ids", Arc::new(lists.finish()))]);
    let base = options(&[path.display().to_string()], 8);
    check(base.clone(), Limits::default(), &["n.parquet:2: column \"text\" is null"], 2, 1);
    check(
        CorpusOptions { text: "bytes".into(), ..base.clone() },
        Limits::default(),
        &["n.parquet:2: ", "not UTF-8"],
        2,
        1,
    );
    check(
        CorpusOptions { ids: Some("ids".into()), ..base.clone() },
        Limits::default(),
        &["n.parquet:2: ", "holds -5"],
        1,
        2,
    );
    let labelled = CorpusOptions { labels: vec!["n".into()], text: "bytes".into(), id: "text".into(), ..base.clone() };
    let skip = CorpusOptions { on_bad_record: OnBadRecord::Skip, ..labelled };
    let (batches, _) = read(skip, Limits::default()).unwrap();
    let found: Vec<_> = batches[0].documents.iter().map(|d| (d.name.to_string(), d.labels[0].clone())).collect();
    assert_eq!(found, [("a".to_string(), Some("1".to_string())), ("c".to_string(), Some("3".to_string()))]);
    for (bad, part) in [
        (CorpusOptions { text: "body".into(), ..base.clone() }, "no column \"body\""),
        (CorpusOptions { text: "n".into(), ..base.clone() }, "expected text"),
        (CorpusOptions { ids: Some("text".into()), ..base.clone() }, "a list of integers"),
        (CorpusOptions { labels: vec!["lang".into()], ..base.clone() }, "no column \"lang\""),
        (CorpusOptions { labels: vec!["ids".into()], ..base.clone() }, "label column \"ids\""),
    ] {
        let error = Corpus::open(bad, tokenizer()).err().unwrap();
        assert!(error.kind() == ErrorKind::Request && error.to_string().contains(part), "{error}");
    }
}

#[test]
fn ids_that_are_not_the_tokenizers() {
    let folder = tempfile::tempdir().unwrap();
    let ids = |ids: &[u16]| ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>();
    let options = put(folder.path(), "v.bin", &ids(&[5, 6, 0, 7, 60_000, 0, 8]));
    check(options, Limits::default(), &["v.bin: document 2: id 60000 at position 1", "bin_token_bytes"], 2, 1);
    let odd = [&ids(&[5, 6, 0, 7])[..], &[9]].concat();
    check(put(folder.path(), "odd.bin", &odd), Limits::default(), &["odd.bin: the file ends inside an id"], 2, 1);
}

#[test]
fn a_corpus_without_a_context_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, part) in [
        ("e.jsonl", &b""[..], "holds no document"),
        ("e.txt", b"\xEF\xBB\xBF", "holds no document"),
        ("e.jsonl", b"\n \n", "holds no document"),
        ("e.bin", b"\0\0\0\0", "holds no document"),
        ("e.jsonl", b"{\"text\": \"\"}", "gives no context"),
    ] {
        let error = read(put(folder.path(), name, bytes), Limits::default()).unwrap_err();
        assert!(error.kind() == ErrorKind::Input && error.to_string().contains(part), "{error}");
    }
    let skip = CorpusOptions { on_bad_record: OnBadRecord::Skip, ..put(folder.path(), "s.jsonl", b"{}\n[]") };
    let error = read(skip, Limits::default()).unwrap_err();
    assert!(error.to_string().contains("2 records were skipped, the first as"), "{error}");
}

#[test]
fn a_failure_comes_behind_the_good_batches_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines: Vec<String> = (0..50).map(|i| format!("{{\"text\": \"document {i}\"}}")).collect();
    lines[30] = "rubbish".into();
    let options = CorpusOptions { batch_contexts: 4, ..put(folder.path(), "b.jsonl", lines.join("\n").as_bytes()) };
    let mut corpus = Corpus::open(options, tokenizer()).unwrap();
    for _ in 0..7 {
        assert_eq!(corpus.next_batch().unwrap().unwrap().contexts.len(), 4);
    }
    let cursor = corpus.cursor();
    let error = corpus.next_batch().unwrap_err().to_string();
    assert!(error.contains("b.jsonl:31: "), "{error}");
    assert_eq!(corpus.next_batch().unwrap_err().to_string(), error);
    // Mended in place, with the same size, the run goes on from the last whole batch.
    lines[30] = "{\"text\":\"\"}".into();
    assert_eq!(corpus.cursor(), cursor);
    std::fs::write(folder.path().join("b.jsonl"), lines.join("\n").replace("rubbish", "       ")).unwrap();
    assert_eq!(corpus.seek(&cursor).unwrap_err().kind(), ErrorKind::State, "the size has changed");
    lines[30] = " ".repeat("rubbish".len());
    std::fs::write(folder.path().join("b.jsonl"), lines.join("\n")).unwrap();
    corpus.seek(&cursor).unwrap();
    assert_eq!(corpus.next_batch().unwrap().unwrap().index, 7);
}
