//! What is wrong in a file is named with its place, or counted and left out, never passed over in silence.

use super::{Kind, TIGHT, options, parquet, read, tokenizer, wrapped, write};
use crate::corpus::record::Limits;
use crate::corpus::{Corpus, CorpusOptions, OnBadRecord, TextUnit};
use crate::error::ErrorKind;
use arrow::array::{ArrayRef, BinaryArray, Int64Array, ListBuilder, StringArray};
use std::path::Path;
use std::sync::Arc;

/// With "error" the run stops with an `Input` error that contains all of `parts`; with "skip" it gives `documents`
/// documents and counts `skipped` records.
pub(super) fn check(options: CorpusOptions, limits: Limits, parts: &[&str], documents: u64, skipped: u64) {
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
    // Counters are counted once, wherever reading resumes.
    let mut corpus =
        Corpus::open_within(CorpusOptions { batch_contexts: 1, ..skip.clone() }, vec![tokenizer()], limits).unwrap();
    let mut again =
        Corpus::open_within(CorpusOptions { batch_contexts: 1, ..skip }, vec![tokenizer()], limits).unwrap();
    let mut n_contexts = 0;
    while let Some(batch) = corpus.next_batch().unwrap() {
        assert_eq!(again.next_batch().unwrap(), Some(batch));
        n_contexts += 1;
        again.seek(&corpus.cursor()).unwrap();
        assert_eq!(again.progress(), corpus.progress());
    }
    assert_eq!(again.next_batch().unwrap(), None);
    assert_eq!(
        (again.progress(), n_contexts),
        (progress, batches.iter().map(|b| b.views[0].contexts.len()).sum::<usize>())
    );
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
        (b"{\"text\": \"\\ud80\"}", &["not a JSON record"]),
        (b"{\"text\": NaN}", &["field \"text\" is null or NaN"]),
        (b"{\"text\": nan}", &["not a JSON record"]),
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
    assert_eq!((progress.documents, progress.skipped_records), (1, 1));
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
        // The damage is counted once, also when reading resumes in the next file.
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
        5,
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
        (CorpusOptions { id: "ids".into(), ..base.clone() }, "id column \"ids\""),
        (CorpusOptions { id: "url".into(), ..base.clone() }, "no column \"url\" ([corpus] id)"),
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
        assert_eq!(corpus.next_batch().unwrap().unwrap().views[0].contexts.len(), 4);
    }
    let cursor = corpus.cursor();
    let error = corpus.next_batch().unwrap_err().to_string();
    assert!(error.contains("b.jsonl:31: "), "{error}");
    assert_eq!(corpus.next_batch().unwrap_err().to_string(), error);
    // Mended in place, the run resumes from the last whole batch.
    lines[30] = "{\"text\":\"\"}".into();
    assert_eq!(corpus.cursor(), cursor);
    std::fs::write(folder.path().join("b.jsonl"), lines.join("\n")).unwrap();
    corpus.seek(&cursor).unwrap();
    assert_eq!(corpus.next_batch().unwrap().unwrap().index, 7);
    // what was read must be what it was
    lines[27] = "{\"text\": \"another\"}".into();
    std::fs::write(folder.path().join("b.jsonl"), lines.join("\n")).unwrap();
    let error = corpus.seek(&cursor).unwrap_err();
    assert!(
        error.kind() == ErrorKind::State && error.to_string().contains("b.jsonl is not what it was up to record 28"),
        "{error}"
    );
}

#[test]
fn a_long_name_that_nobody_asked_for_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let long = "é\"x".repeat(2000);
    let line = |key: &str, text: &str| format!("{}\n", serde_json::json!({ key: long, "text": text }));
    let name_of = |bytes: String, id: &str, limits: Limits| {
        let asked = CorpusOptions { id: id.into(), ..put(folder.path(), "l.jsonl", bytes.as_bytes()) };
        read(asked, limits).map(|(batches, _)| batches[0].documents[0].name.to_string())
    };
    let cut = name_of(line("id", "a b c"), "id", Limits::default()).unwrap();
    assert!(cut.len() < 80 && cut.ends_with('…') && long.starts_with(cut.trim_end_matches('…')), "{cut}");
    // the same where the line is not held whole
    let tight = Limits { line_bytes: 2000, record_bytes: 1 << 20, ..Limits::default() };
    assert_eq!(name_of(line("id", "a b c"), "id", tight).unwrap(), cut);
    assert_eq!(name_of(line("id", &"a b c ".repeat(1000)), "id", tight).unwrap(), cut);
    // asked for it is a record that cannot be named as asked
    assert_eq!(name_of(line("key", "a"), "key", Limits::default()).unwrap(), long);
    assert!(name_of(line("key", "a"), "key", tight).unwrap_err().to_string().contains("longer than"));
}

#[test]
fn half_of_a_surrogate_pair_is_replaced_and_counted_and_numbers_that_are_none_matter_to_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let lines =
        b"{\"text\": \"a\\ud83db\", \"score\": NaN}\n{\"score\": -Infinity, \"lang\": NaN, \"text\": \"plain\"}\n\
                  {\"text\": \"\\udc00\\ud83d\\ude00\\ud800\"}\n";
    for on_bad_record in [OnBadRecord::Error, OnBadRecord::Skip] {
        let options = CorpusOptions {
            on_bad_record,
            labels: vec!["lang".into()],
            context_length: 32,
            ..put(folder.path(), "s.jsonl", lines)
        };
        let (batches, progress) = read(options, Limits::default()).unwrap();
        assert_eq!((progress.documents, progress.skipped_records, progress.replaced_surrogates), (3, 0, 3));
        assert!(progress.first_surrogate.unwrap().ends_with("s.jsonl:1"));
        let text = |c: usize| tokenizer().decode(&batches[0].views[0].contexts[c].ids[1..]).unwrap();
        assert_eq!([text(0), text(1), text(2)], ["a\u{FFFD}b", "plain", "\u{FFFD}\u{1F600}\u{FFFD}"]);
        assert!(batches[0].documents.iter().all(|d| d.labels == [None]));
    }
}

#[test]
fn files_that_are_no_lines_of_utf8_are_named_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let utf16 = |text: &str| text.encode_utf16().flat_map(|u| u.to_le_bytes()).collect::<Vec<u8>>();
    let line = "{\"text\": \"a record\"}\n";
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4711\n";
    let array = b"\n  [{\"text\": \"a\"},\n {\"text\": \"b\"}]\n";
    for (name, bytes, parts) in [
        ("a.jsonl", array.to_vec(), &["a JSON array, not lines", "jq -c '.[]'", "a.jsonl"][..]),
        ("a.json", b"[]".to_vec(), &["a JSON array, not lines"]),
        ("b.jsonl", [&b"\xEF\xBB\xBF"[..], array].concat(), &["a JSON array, not lines"]),
        ("a.json.gz", wrapped(array, ".gz", 1 << 20), &["a JSON array, not lines", "gzip -dc"]),
        ("a.jsonl.zst", wrapped(array, ".zst", 1 << 20), &["a JSON array, not lines", "zstd -dc"]),
        ("u.jsonl", utf16(&format!("\u{FEFF}{line}")), &["UTF-16LE, expected UTF-8", "iconv -f UTF-16LE"]),
        ("u.txt", utf16("plain text in two bytes"), &["UTF-16LE, expected UTF-8"]),
        ("u.txt.gz", wrapped(&utf16("plain text in two bytes"), ".gz", 1 << 20), &["UTF-16LE", "once it is unpacked"]),
        ("p.jsonl", pointer.to_vec(), &["a Git LFS pointer", "4711 bytes", "git lfs pull"]),
        ("p.parquet", pointer.to_vec(), &["a Git LFS pointer", "git lfs pull"]),
        ("p.bin.zst", pointer.to_vec(), &["a Git LFS pointer"]),
        ("g.jsonl", wrapped(line.as_bytes(), ".gz", 1 << 20), &["gzip data", "should end in .gz"]),
        ("z.txt", wrapped(line.as_bytes(), ".zst", 1 << 20), &["zstd data"]),
        ("h.jsonl", b"<!DOCTYPE html><html>".to_vec(), &["a page of a web server"]),
    ] {
        for on_bad_record in [OnBadRecord::Error, OnBadRecord::Skip] {
            let options = CorpusOptions { on_bad_record, ..put(folder.path(), name, &bytes) };
            let error = Corpus::open(options, tokenizer()).err().unwrap_or_else(|| panic!("{name} was taken"));
            let said = error.to_string();
            assert!(error.kind() == ErrorKind::Input && parts.iter().all(|p| said.contains(p)), "{name}: {said}");
        }
    }
    // a list further down is a bad line; ids may be any bytes
    let good = put(folder.path(), "l.bin", b"\x1f\x8b\x01\0");
    assert!(Corpus::open(good, tokenizer()).is_ok());
    // a record over several lines: the error has the command that makes it one line
    let pretty = put(folder.path(), "o.json", b"{\n  \"text\": \"a\"\n}\n");
    let said = read(pretty, Limits::default()).unwrap_err().to_string();
    assert!(said.contains("o.json:1") && said.contains("jq -c ."), "{said}");
}

#[test]
fn a_frame_that_looks_back_further_than_the_plan_counts_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let line = |n: usize| format!("{{\"text\": \"document {n}\"}}\n");
    let frame = |window_log: u32, text: &str| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    // as Reddit's dumps are made: longer than the 128 MiB that a decoder takes by itself
    let long = put(folder.path(), "long.jsonl.zst", &[frame(31, &line(1)), frame(27, &line(2))].concat());
    assert_eq!(read(long.clone(), Limits::default()).unwrap().1.documents, 2);
    assert_eq!(Corpus::open(long, tokenizer()).unwrap().facts().window_bytes, (1 << 31) + (1 << 20));
    let mixed = put(folder.path(), "mixed.jsonl.zst", &[frame(20, &line(1)), frame(28, &line(2))].concat());
    check(mixed, Limits::default(), &["mixed.jsonl.zst", "looks back further than 8 MiB", "behind line 1"], 1, 1);
}

#[test]
fn a_long_line_of_json_is_read_in_pieces_and_what_is_wrong_in_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let tight = Limits { record_bytes: 1 << 20, ..TIGHT };
    let long: String = (0..90).map(|i| format!("word{i} 🙂é\\n\\u00e9\\ud83d\\ude00 ")).collect();
    let plain: String = serde_json::from_str(&format!("\"{long}\"")).unwrap();
    let around = |line: &str| format!("{{\"text\": \"first\"}}\n{line}\n{{\"text\": \"last\"}}\n").into_bytes();
    // the text may stand before or behind the other fields, some of them long
    let good = around(&format!(
        "{{\"meta\": {{\"text\": \"{long}\"}}, \"lang\": \"de\", \"text\": \"{long}\", \"id\": \"x\", \"more\": [\"{long}\"]}}"
    ));
    for wrap in ["", ".gz", ".zst"] {
        let bytes = wrapped(&good, wrap, 700);
        let put = put(folder.path(), &format!("g.jsonl{wrap}"), &bytes);
        let options = CorpusOptions { labels: vec!["lang".into()], context_length: 4096, ..put };
        let (batches, progress) = read(options, tight).unwrap();
        assert_eq!(progress.documents, 3);
        let texts: Vec<String> =
            batches[0].views[0].contexts.iter().map(|c| tokenizer().decode(&c.ids[1..]).unwrap()).collect();
        if progress.split_documents == 0 {
            assert_eq!(texts, ["first".to_string(), plain.clone(), "last".to_string()]);
        }
        let named = &batches[0].documents[1];
        assert_eq!((&*named.name, named.record, named.labels.clone()), ("x", 2, vec![Some("de".to_string())]));
    }
    // halves of surrogate pairs that stand alone, the last of them at the very end
    let halves = around(&format!("{{\"text\": \"\\ude00{long}\\ud83d\\ud83d\\ude00\\ud83d\"}}"));
    let (_, progress) = read(put(folder.path(), "s.jsonl", &halves), tight).unwrap();
    assert_eq!((progress.documents, progress.replaced_surrogates), (3, 3));
    // the same ids as whole, where margins are what they are in a run
    let (path, limits) =
        (folder.path().join("w.jsonl"), Limits { line_bytes: 400, piece_bytes: 600, margin_bytes: 200, ..tight });
    std::fs::write(&path, serde_json::json!({ "text": plain }).to_string()).unwrap();
    let options = CorpusOptions { context_length: 8192, ..options(&[path.display().to_string()], 8) };
    let (batches, progress) = read(options, limits).unwrap();
    assert_eq!(progress.split_documents, 0);
    assert_eq!(batches[0].views[0].contexts[0].ids[1..], tokenizer().encode(&plain).unwrap());
    for (line, parts) in [
        (format!("{{\"text\": \"{long}"), &["EOF while parsing a string"][..]),
        (format!("{{\"text\": \"{long}\", }}"), &["not a JSON record"]),
        (format!("{{\"body\": \"{long}\"}}"), &["no field \"text\""]),
        (format!("{{\"text\": [\"{long}\"]}}"), &["field \"text\" is a list"]),
        (format!("{{\"text\": \"{long}\\x\"}}"), &["invalid escape"]),
        (format!("{{\"text\": \"{long}\", \"lang\": \"{long}\"}}"), &["longer than 50 bytes"]),
        (format!("{{\"text\": \"{long}\u{1}\"}}"), &["control character"]),
        (format!("{{\"text\": \"{long}\0\"}}"), &["a NUL byte"]),
        (
            format!("{{\"text\": \"{long}\", \"tags\": [{}0]}}", "1, ".repeat(100)),
            &["more than 200 bytes without its long texts"],
        ),
    ] {
        let options = CorpusOptions { labels: vec!["lang".into()], ..put(folder.path(), "l.jsonl", &around(&line)) };
        let parts: Vec<&str> = parts.iter().copied().chain(["l.jsonl:2: "]).collect();
        check(options, tight, &parts, 2, 1);
    }
    let mut bytes = around(&format!("{{\"text\": \"{long}\"}}"));
    bytes[3000] = 0xFF;
    check(put(folder.path(), "u.jsonl", &bytes), tight, &["u.jsonl:2: ", "is not UTF-8"], 2, 1);
    // the file ends inside a character
    let mut cut = around(&format!("{{\"text\": \"{long}🙂"));
    let end = cut.windows(4).rposition(|bytes| bytes == "🙂".as_bytes()).unwrap();
    cut.truncate(end + 2);
    check(put(folder.path(), "c.jsonl", &cut), tight, &["c.jsonl:2: ", "is not UTF-8"], 1, 1);
}
