//! The same documents from files of every kind, from any batch on, by any number of threads.

use super::cutting::any_rules;
use super::{KINDS, Kind, TIGHT, read, tokenizer, wrapped, write};
use crate::corpus::record::Limits;
use crate::corpus::{Corpus, CorpusOptions, Cursor, Progress, TextUnit, TokenBatch};
use crate::error::ErrorKind;
use proptest::prelude::*;
use std::io::Write;

/// Reads to the end; for each batch the cursor before it, and the progress behind it.
fn straight(options: &CorpusOptions, limits: Limits) -> Vec<(Cursor, TokenBatch, Progress)> {
    let mut corpus = Corpus::open_within(options.clone(), vec![tokenizer()], limits).unwrap();
    let mut steps = Vec::new();
    loop {
        let cursor = corpus.cursor();
        match corpus.next_batch().unwrap() {
            Some(batch) => steps.push((cursor, batch, corpus.progress())),
            None => return steps,
        }
    }
}

/// A cursor as a manifest keeps it.
fn kept(cursor: &Cursor) -> Cursor {
    serde_json::from_str(&serde_json::to_string(cursor).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(super::cases(16))]

    #[test]
    fn every_kind_of_file_gives_the_same_contexts_from_any_batch_on(
        documents in prop::collection::vec("[a-zé]{1,6}( [a-zé]{1,6}){0,24}", 1..20),
        (bos, remainder, pack, count_special) in any_rules(),
        batch_contexts in 1usize..5,
        member in 20usize..400,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut expected: Option<Vec<TokenBatch>> = None;
        for (kind, wrap) in KINDS.iter().flat_map(|&kind| ["", ".gz", ".zst"].map(|wrap| (kind, wrap))) {
            if matches!(kind, Kind::Parquet | Kind::ParquetIds) && !wrap.is_empty() {
                continue;
            }
            // Ready-made ids go through no tokenizer, so they are cut from whole texts: give the others whole ones too.
            let limits = Limits { piece_bytes: 4096, ..TIGHT };
            let options = write(folder.path(), kind, wrap, member, &documents);
            let options = CorpusOptions { bos, remainder, pack, count_special, batch_contexts, ..options };
            let steps = match Corpus::open_within(options.clone(), vec![tokenizer()], limits).unwrap().next_batch() {
                Ok(_) => straight(&options, limits),
                Err(e) => {
                    prop_assert_eq!(e.kind(), ErrorKind::Input, "{}", e);
                    continue;
                }
            };
            let mut batches: Vec<TokenBatch> = steps.iter().map(|(_, batch, _)| batch.clone()).collect();
            batches.iter_mut().flat_map(|b| &mut b.documents).for_each(|d| (d.name, d.file, d.record) = ("".into(), 0, 0));
            match &expected {
                Some(expected) => prop_assert_eq!(&batches, expected, "{:?}{}", kind, wrap),
                None => expected = Some(batches),
            }
            for start in 0..steps.len() {
                let mut corpus = Corpus::open_within(options.clone(), vec![tokenizer()], limits).unwrap();
                corpus.seek(&kept(&steps[start].0)).unwrap();
                for (cursor, batch, progress) in steps[start..].iter().take(3) {
                    prop_assert_eq!(&corpus.cursor(), cursor, "{:?}{} from {}", kind, wrap, start);
                    prop_assert_eq!(&corpus.next_batch().unwrap().unwrap(), batch, "{:?}{} from {}", kind, wrap, start);
                    prop_assert_eq!(&corpus.progress(), progress, "{:?}{} from {}", kind, wrap, start);
                }
            }
        }
    }

    #[test]
    fn long_texts_are_cut_alike_in_every_kind_and_taken_up_inside(
        documents in prop::collection::vec("[a-z]{1,8}([ \t][a-zé]{0,70}){0,12}[a-z]", 1..6),
        (bos, remainder, pack, count_special) in any_rules(),
        member in 20usize..400,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut expected: Option<Vec<TokenBatch>> = None;
        for (kind, wrap) in [
            (Kind::Jsonl, ""), (Kind::Lines, ".gz"), (Kind::Paragraphs, ".zst"), (Kind::Files, ""), (Kind::Parquet, ""),
        ] {
            let options = write(folder.path(), kind, wrap, member, &documents);
            let options = CorpusOptions { bos, remainder, pack, count_special, batch_contexts: 2, ..options };
            let steps = match Corpus::open_within(options.clone(), vec![tokenizer()], TIGHT).unwrap().next_batch() {
                Ok(_) => straight(&options, TIGHT),
                Err(_) => continue,
            };
            let mut batches: Vec<TokenBatch> = steps.iter().map(|(_, batch, _)| batch.clone()).collect();
            batches.iter_mut().flat_map(|b| &mut b.documents).for_each(|d| (d.name, d.file, d.record) = ("".into(), 0, 0));
            match &expected {
                Some(expected) => prop_assert_eq!(&batches, expected, "{:?}{}", kind, wrap),
                None => expected = Some(batches),
            }
            for (start, (cursor, batch, progress)) in steps.iter().enumerate() {
                let mut corpus = Corpus::open_within(options.clone(), vec![tokenizer()], TIGHT).unwrap();
                corpus.seek(&kept(cursor)).unwrap();
                prop_assert_eq!(&corpus.next_batch().unwrap().unwrap(), batch, "{:?}{} from {}", kind, wrap, start);
                prop_assert_eq!(&corpus.progress(), progress, "{:?}{} from {}", kind, wrap, start);
            }
            let long = documents.iter().filter(|text| text.len() > TIGHT.piece_bytes).count() as u64;
            prop_assert!(read(options, TIGHT).unwrap().1.split_documents <= long);
        }
    }
}

#[test]
fn a_corpus_may_be_handed_to_another_thread() {
    fn send<T: Send>() {}
    send::<Corpus>();
}

#[test]
fn threads_and_look_ahead_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let documents: Vec<String> =
        (0..300).map(|i| format!("document {i} says {}", "word ".repeat(i % 17 + 1))).collect();
    let options = write(folder.path(), Kind::Jsonl, "", 0, &documents);
    let expected = read(options.clone(), TIGHT).unwrap();
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for look_ahead_bytes in [1, 1000, 1 << 20] {
            let limits = Limits { look_ahead_bytes, ..TIGHT };
            assert_eq!(pool.install(|| read(options.clone(), limits).unwrap()), expected);
        }
    }
}

#[test]
fn seeking_reads_nothing_of_the_members_groups_and_files_behind() {
    let folder = tempfile::tempdir().unwrap();
    let documents: Vec<String> = (0..60).map(|i| format!("document number {i}")).collect();
    for (kind, wrap) in
        [(Kind::Jsonl, ""), (Kind::Jsonl, ".gz"), (Kind::Lines, ".zst"), (Kind::Parquet, ""), (Kind::Bin2, ".gz")]
    {
        let options = CorpusOptions { batch_contexts: 4, ..write(folder.path(), kind, wrap, 100, &documents) };
        let steps = straight(&options, TIGHT);
        let (cursor, batch, _) = steps.last().unwrap();
        // The first third of the file becomes rubbish of the same size.
        let path = &options.files[0];
        let mut bytes = std::fs::read(path).unwrap();
        let third = bytes.len() / 3;
        bytes[..third].fill(0xFF);
        std::fs::write(path, bytes).unwrap();
        let mut corpus = Corpus::open_within(options.clone(), vec![tokenizer()], TIGHT).unwrap();
        // refused when read again; with the file's stamp as before, it is taken as unchanged
        let error = corpus.seek(cursor).unwrap_err();
        assert!(error.kind() == ErrorKind::State || error.kind() == ErrorKind::Input, "{error}");
        let mut untouched = serde_json::to_value(cursor).unwrap();
        untouched["stamp"] = corpus.files()[0].stamp.into();
        let cursor: &Cursor = &serde_json::from_value(untouched).unwrap();
        corpus.seek(cursor).unwrap();
        assert_eq!(&corpus.next_batch().unwrap().unwrap(), batch, "{kind:?}{wrap}");
        assert_eq!(corpus.next_batch().unwrap(), None);
    }
}

#[test]
fn large_compressed_files_are_taken_up_inside_a_member_with_equal_counters() {
    let folder = tempfile::tempdir().unwrap();
    // Hashes, which hardly compress: several reads of the file in each member.
    let hash = |i: u32| blake3::hash(&i.to_le_bytes()).to_hex().to_string();
    let documents: Vec<String> =
        (0..500).map(|i| (0..16).map(|j| hash(100 * i + j)).collect::<Vec<_>>().join(" ")).collect();
    for wrap in [".gz", ".zst"] {
        let options = write(folder.path(), Kind::Jsonl, wrap, 300_000, &documents);
        let options = CorpusOptions { batch_contexts: 40, context_length: 256, ..options };
        let steps = straight(&options, Limits::default());
        assert!(steps[0].2.bytes_total > 200_000 && steps.len() > 20, "{} steps", steps.len());
        assert!(steps.windows(2).all(|pair| pair[0].2.bytes_done <= pair[1].2.bytes_done));
        for (cursor, batch, progress) in steps.iter().step_by(7) {
            let mut corpus = Corpus::open(options.clone(), tokenizer()).unwrap();
            corpus.seek(&kept(cursor)).unwrap();
            assert_eq!(&corpus.next_batch().unwrap().unwrap(), batch, "{wrap}");
            assert_eq!(&corpus.progress(), progress, "{wrap}");
        }
    }
}

#[test]
fn files_that_changed_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let documents: Vec<String> = (0..30).map(|i| format!("document number {i}")).collect();
    let options = CorpusOptions { batch_contexts: 4, ..write(folder.path(), Kind::Files, "", 0, &documents) };
    let mut corpus = Corpus::open(options.clone(), tokenizer()).unwrap();
    corpus.next_batch().unwrap().unwrap();
    let cursor = corpus.cursor();
    assert_eq!((cursor.batch(), cursor.rows()), (1, corpus.next_batch().unwrap().unwrap().first_row));
    let refused = |corpus: &mut Corpus, part: &str| {
        let error = corpus.seek(&cursor).unwrap_err();
        assert!(error.kind() == ErrorKind::State && error.to_string().contains(part), "{error}");
    };
    let grow = |name: &str| {
        let file = std::fs::OpenOptions::new().append(true).open(folder.path().join(name));
        file.unwrap().write_all(b" and more").unwrap();
    };
    // Behind the position any file may change. The file of the position, or one before it, may be touched, but must
    // have the same content.
    grow("f0029.txt");
    corpus.seek(&cursor).unwrap();
    assert!(Corpus::open(options.clone(), tokenizer()).unwrap().seek(&cursor).is_ok());
    for touched in ["f0000.txt", "f0003.txt"] {
        let text = std::fs::read(folder.path().join(touched)).unwrap();
        std::fs::write(folder.path().join(touched), text).unwrap();
    }
    Corpus::open(options.clone(), tokenizer()).unwrap().seek(&cursor).unwrap();
    grow("f0003.txt");
    refused(&mut Corpus::open(options.clone(), tokenizer()).unwrap(), "f0003.txt");
    let mut fewer = options.clone();
    fewer.files.remove(0);
    refused(&mut Corpus::open(fewer, tokenizer()).unwrap(), "f0003.txt");
    std::fs::write(folder.path().join("f0003.txt"), "document number 3").unwrap();
    grow("f0000.txt");
    refused(&mut Corpus::open(options, tokenizer()).unwrap(), "f0000.txt");
}

#[test]
fn text_units_line_ends_marks_and_blank_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.txt");
    let documents = |bytes: &[u8], text_unit| {
        std::fs::write(&path, bytes).unwrap();
        let options = CorpusOptions { text_unit, ..super::options(&[path.display().to_string()], 64) };
        let (batches, _) = read(options, Limits::default()).unwrap();
        let of = |batch: &TokenBatch| -> Vec<(String, String)> {
            let text = |c: usize| tokenizer().decode(&batch.views[0].contexts[c].ids[1..]).unwrap();
            let row = |c: usize| batch.views[0].contexts[c].tokens().next().unwrap().0;
            let name = |c: usize| batch.document_of(row(c)).name.rsplit(':').next().unwrap().to_string();
            (0..batch.views[0].contexts.len()).map(|c| (name(c), text(c))).collect()
        };
        batches.iter().flat_map(of).collect::<Vec<_>>()
    };
    let pair = |name: &str, text: &str| (name.to_string(), text.to_string());
    let bytes = b"\xEF\xBB\xBFone\r\ntwo\r\n \r\n\r\nthree\r\nfour";
    assert_eq!(documents(bytes, TextUnit::File), [pair("1", "one\ntwo\n \n\nthree\nfour")]);
    assert_eq!(documents(bytes, TextUnit::Paragraph), [pair("1", "one\ntwo"), pair("2", "three\nfour")]);
    assert_eq!(
        documents(bytes, TextUnit::Line),
        [pair("1", "one"), pair("2", "two"), pair("5", "three"), pair("6", "four")]
    );
    assert_eq!(documents(b"\n\none\n\n", TextUnit::Paragraph), [pair("1", "one")]);
    assert_eq!(documents(b"one\n", TextUnit::Line), [pair("1", "one")]);
}

#[test]
fn names_and_labels_come_with_the_documents() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.jsonl");
    let lines = "\u{FEFF}{\"id\": 7, \"text\": \"a\", \"lang\": \"de\", \"n\": 3}\r\n\r\n  \n\
                 {\"text\": \"b\", \"n\": 2.5, \"lang\": null, \"deep\": {\"text\": [1, {}]}}\n{\"lang\": true, \"text\": \"\"}\n\
                 {\"id\": \"x\", \"text\": \"c\"}";
    std::fs::write(&path, lines).unwrap();
    let file = path.display().to_string();
    let copy = folder.path().join("m.jsonl").display().to_string();
    std::fs::copy(&file, &copy).unwrap();
    let options = CorpusOptions { labels: vec!["lang".into(), "n".into()], ..super::options(&[file.clone(), copy], 8) };
    let (batches, progress) = read(options, Limits::default()).unwrap();
    let found: Vec<_> = batches[0].documents.iter().map(|d| (d.number, &*d.name, d.labels.clone())).collect();
    let some = |text: &str| Some(text.to_string());
    let fourth = format!("{file}:4");
    assert_eq!(
        found[..4],
        [
            (0, "7", vec![some("de"), some("3")]),
            (1, fourth.as_str(), vec![None, some("2.5")]),
            (3, "x", vec![None, None]),
            (4, "7", vec![some("de"), some("3")]),
        ]
    );
    assert_eq!((progress.documents, progress.bytes_done), (8, 2 * lines.len() as u64));
    assert_eq!(progress.labelled, [4, 4], "documents with a value of lang, of n");
}

#[test]
fn wrapped_files_may_hold_empty_members_zeros_and_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let line = b"{\"text\": \"a member of its own\"}\n";
    for wrap in [".gz", ".zst"] {
        let empty = wrapped(b" ", wrap, 1);
        let mut bytes = [empty.clone(), wrapped(line, wrap, 7), empty, wrapped(line, wrap, 1000)].concat();
        if wrap == ".gz" {
            bytes.extend([0; 512]);
        }
        let (full, none) = (folder.path().join(format!("a.jsonl{wrap}")), folder.path().join(format!("b.jsonl{wrap}")));
        std::fs::write(&full, bytes).unwrap();
        std::fs::write(&none, b"").unwrap();
        let files = [none.display().to_string(), full.display().to_string()];
        let (batches, progress) = read(super::options(&files, 8), Limits::default()).unwrap();
        assert_eq!((batches[0].views[0].contexts.len(), progress.documents), (2, 2));
        assert_eq!(progress.bytes_done, progress.bytes_total);
    }
}

#[test]
fn a_file_mended_behind_the_place_gives_what_the_good_file_gives_from_any_batch_on() {
    let folder = tempfile::tempdir().unwrap();
    let documents: Vec<String> =
        (0..40).map(|i| format!("document {i} of some words, and one <|endoftext|> in {i}")).collect();
    for (kind, wrap) in
        [(Kind::Jsonl, ""), (Kind::Jsonl, ".gz"), (Kind::Lines, ".zst"), (Kind::Parquet, ""), (Kind::Bin2, "")]
    {
        let write = |documents: &[String]| {
            let options = write(folder.path(), kind, wrap, 300, documents);
            let sample = Some(crate::corpus::Sample { fraction: 0.8, seed: 3 });
            CorpusOptions { batch_contexts: 3, sample, ..options }
        };
        let steps = straight(&write(&documents), TIGHT);
        // another length, from document 30 on
        let mut mended = documents.clone();
        mended.iter_mut().skip(30).for_each(|d| *d = format!("mended: {d}, and more"));
        let options = write(&mended);
        let (good, whole) = (straight(&options, TIGHT), read(options.clone(), TIGHT).unwrap().1);
        let (mut taken, mut refused) = (0, 0);
        for (k, (cursor, ..)) in steps.iter().enumerate() {
            let mut corpus = Corpus::open_within(options.clone(), vec![tokenizer()], TIGHT).unwrap();
            match corpus.seek(&kept(cursor)) {
                Ok(()) => {
                    let rest = straight_on(&mut corpus);
                    let expected: Vec<TokenBatch> = good[k..].iter().map(|(_, batch, _)| batch.clone()).collect();
                    assert_eq!(rest, expected, "{kind:?}{wrap} from {k}");
                    assert_eq!(corpus.progress(), whole);
                    taken += 1;
                }
                Err(e) => {
                    assert!(e.kind() == ErrorKind::State && e.to_string().contains("is not what it was"), "{e}");
                    refused += 1;
                }
            }
        }
        assert!(taken > 4 && refused > 1 && taken > refused, "{kind:?}{wrap}: {taken} taken, {refused} refused");
    }
}

/// All batches from a corpus' current position.
fn straight_on(corpus: &mut Corpus) -> Vec<TokenBatch> {
    std::iter::from_fn(|| corpus.next_batch().unwrap()).collect()
}

#[test]
fn a_second_pass_is_over_what_the_first_read() {
    let folder = tempfile::tempdir().unwrap();
    let documents: Vec<String> = (0..30).map(|i| format!("document number {i}")).collect();
    let options = CorpusOptions { batch_contexts: 4, ..write(folder.path(), Kind::Lines, "", 0, &documents) };
    let mut first = Corpus::open(options.clone(), tokenizer()).unwrap();
    straight_on(&mut first);
    let mut second = Corpus::open(options.clone(), tokenizer()).unwrap();
    second.follow(first.cursor());
    second.next_batch().unwrap();
    let cursor = kept(&second.cursor());
    second.seek(&cursor).unwrap();
    assert_eq!(second.cursor(), cursor);
    // behind the second pass' place, but not behind the first's
    std::fs::OpenOptions::new()
        .append(true)
        .open(folder.path().join("a.txt"))
        .unwrap()
        .write_all(b"\nand more")
        .unwrap();
    let error = Corpus::open(options, tokenizer()).unwrap().seek(&cursor).unwrap_err();
    assert!(error.kind() == ErrorKind::State && error.to_string().contains("a.txt"), "{error}");
}
