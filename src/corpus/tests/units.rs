//! Rows that are words, sentences or documents: against a plain reading of whole documents, against rows of tokens, and read on from every
//! batch.

use super::spans::{Contexts, by_document, kind, pair, plain_rows, read_views, text};
use super::*;
use crate::corpus::{ByteTokens, OnBadRecord, RowRule, RowUnit, SpanContexts};
use proptest::prelude::*;
use std::collections::BTreeMap;
use unicode_segmentation::UnicodeSegmentation;

const UNITS: [RowUnit; 3] = [RowUnit::Word, RowUnit::Sentence, RowUnit::Document];

fn kinds() -> &'static [Arc<Tokenizer>; 7] {
    static KINDS: LazyLock<[Arc<Tokenizer>; 7]> = LazyLock::new(|| {
        ["gemma_sp", "gpt2_bpe", "llama3_bpe", "llama_sp", "neox_bpe", "opt_bpe", "qwen_bpe"].map(kind)
    });
    &KINDS
}

/// Whether a row of `unit` may end at `at`: with a bound of the standard, or with white space alone before the next one.
fn is_end(unit: RowUnit, text: &str, at: usize) -> bool {
    let parts: Vec<&str> = match unit {
        RowUnit::Token => return true,
        RowUnit::Document => return at == text.len(),
        RowUnit::Word => text.split_word_bounds().collect(),
        RowUnit::Sentence => text.split_sentence_bounds().collect(),
    };
    let mut bound = 0;
    let next = parts
        .iter()
        .map(|part| {
            bound += part.len();
            bound
        })
        .find(|bound| *bound >= at);
    next.is_some_and(|next| text[at..next].trim().is_empty())
}

/// A row: its end, and of each of its pieces the ids by view.
type PlainRow = (usize, Vec<Vec<Vec<u32>>>);

/// Rows of a whole text, each of whole pieces.
fn plain_units(text: &str, views: &[ByteTokens], unit: RowUnit) -> Vec<PlainRow> {
    let (mut from, mut rows, mut pieces) = (0, Vec::new(), Vec::new());
    for (end, ids) in plain_rows(text, views) {
        pieces.push(ids);
        let said = !text[from..end].trim().is_empty();
        if end == text.len() || (is_end(unit, text, end) && said) {
            rows.push((end, std::mem::take(&mut pieces)));
            from = end;
        }
    }
    rows
}

/// How contexts are cut.
#[derive(Clone, Copy)]
struct Cutting {
    length: usize,
    contexts: SpanContexts,
    /// Contexts of a row.
    most: usize,
}

fn n_tokens(pieces: &[Vec<Vec<u32>>], view: usize) -> usize {
    pieces.iter().map(|ids| ids[view].len()).sum()
}

/// Contexts that a row of these pieces fills where it begins one.
fn n_contexts(pieces: &[Vec<Vec<u32>>], room: usize, contexts: SpanContexts) -> usize {
    let views = 0..pieces[0].len();
    if contexts == SpanContexts::Own {
        return views.map(|view| n_tokens(pieces, view).div_ceil(room)).max().unwrap();
    }
    let (mut n, mut filled) = (1, vec![0; views.len()]);
    for ids in pieces {
        if views.clone().any(|view| filled[view] + ids[view].len() > room) {
            n += 1;
            filled.fill(0);
        }
        views.clone().for_each(|view| filled[view] += ids[view].len());
    }
    n
}

/// Ends of rows, and contexts of each view, of one text; and how many units are cut.
fn plainly(
    text: &str,
    tokenizers: &[Arc<Tokenizer>],
    unit: RowUnit,
    how: Cutting,
) -> Option<(Vec<usize>, Contexts, u64)> {
    if tokenizers.is_empty() {
        return None;
    }
    let views: Vec<ByteTokens> =
        tokenizers.iter().map(|t| t.encode_with_bytes(text).unwrap()).collect::<Option<_>>()?;
    let bos: Vec<Vec<u32>> = tokenizers.iter().map(|t| t.bos_or_convention().into_iter().collect()).collect();
    let (mut rows, mut n_cut): (Vec<PlainRow>, u64) = (Vec::new(), 0);
    for (end, pieces) in plain_units(text, &views, unit) {
        // of a row that is too long as many pieces as its contexts hold, again and again
        let mut rest = pieces.as_slice();
        while n_contexts(rest, how.length - 1, how.contexts) > how.most {
            n_cut += u64::from(rest.len() == pieces.len());
            let fits =
                (1..rest.len()).rev().find(|&k| n_contexts(&rest[..k], how.length - 1, how.contexts) <= how.most);
            let (now, later) = rest.split_at(fits.unwrap());
            rows.push((0, now.to_vec()));
            rest = later;
        }
        rows.push((end, rest.to_vec()));
    }
    let begin = |v: usize| (bos[v].clone(), vec![None; bos[v].len()]);
    let mut out: Contexts = vec![Vec::new(); views.len()];
    let mut begun: Vec<(Vec<u32>, Vec<Option<usize>>)> = (0..views.len()).map(begin).collect();
    let end = |out: &mut Contexts, begun: &mut Vec<(Vec<u32>, Vec<Option<usize>>)>, v: usize| {
        if begun[v].0.len() > bos[v].len() {
            out[v].push(std::mem::replace(&mut begun[v], begin(v)));
        }
    };
    for (r, (_, pieces)) in rows.iter().enumerate() {
        let over: Vec<usize> =
            (0..views.len()).filter(|&v| begun[v].0.len() + n_tokens(pieces, v) > how.length).collect();
        let all = how.contexts == SpanContexts::Common && !over.is_empty();
        for v in (0..views.len()).filter(|v| all || over.contains(v)) {
            end(&mut out, &mut begun, v);
        }
        for ids in pieces {
            let common = how.contexts == SpanContexts::Common;
            if common && (0..views.len()).any(|v| begun[v].0.len() + ids[v].len() > how.length) {
                (0..views.len()).for_each(|v| end(&mut out, &mut begun, v));
            }
            for v in 0..views.len() {
                for id in &ids[v] {
                    if begun[v].0.len() == how.length {
                        end(&mut out, &mut begun, v);
                    }
                    begun[v].0.push(*id);
                    begun[v].1.push(Some(r));
                }
            }
        }
    }
    (0..views.len()).for_each(|v| end(&mut out, &mut begun, v));
    Some((rows.iter().map(|(end, _)| *end).collect(), out, n_cut))
}

fn unit() -> impl Strategy<Value = RowUnit> {
    prop_oneof![Just(RowUnit::Word), Just(RowUnit::Sentence), Just(RowUnit::Document)]
}

fn prose() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        3 => text(),
        2 => "[a-z]{1,6}( [a-z]{1,5}){0,6}[.?!] ",
        1 => "[A-Z][a-z]{1,4}\\. [A-Z][a-z]{2,6}\\.\\)?\n{0,2}",
        1 => "3\\.[0-9]{1,3}, (can't|e\\.g\\. x|a_b) ",
    ];
    prop::collection::vec(part, 0..5).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(cases(96))]

    /// Rows, contexts and texts are those of each document read plainly, for one to three tokenizers of seven kinds.
    #[test]
    fn rows_and_contexts_of_units_are_those_of_the_plain_reading(
        texts in prop::collection::vec(prose(), 1..4), length in 12usize..32, most in prop_oneof![Just(64usize), 1usize..4], own in any::<bool>(),
        unit in unit(), which in prop::collection::vec(0usize..7, 1..4),
    ) {
        let contexts = if own { SpanContexts::Own } else { SpanContexts::Common };
        let how = Cutting { length, contexts, most };
        // the length of a context is that of one with BOS
        let tokenizers: Vec<Arc<Tokenizer>> =
            which.iter().map(|k| kinds()[*k].clone()).filter(|t| t.bos_or_convention().is_some()).collect();
        let expected: Vec<_> = texts.iter().map(|text| plainly(text, &tokenizers, unit, how)).collect();
        prop_assume!(!tokenizers.is_empty() && expected.iter().all(Option::is_some) && texts.iter().any(|text| !text.is_empty()));
        let folder = tempfile::tempdir().unwrap();
        let options = CorpusOptions {
            rows: RowRule::Spans(contexts, unit),
            context_length: length,
            batch_contexts: most,
            split_at_eos: false,
            ..write(folder.path(), Kind::Jsonl, "", 0, &texts)
        };
        let batches = read_views(&options, &tokenizers, Limits::default());
        prop_assert!(batches.iter().all(|batch| (1..=most).contains(&batch.views[0].contexts.len())));
        let found = by_document(&batches, texts.len(), tokenizers.len());
        let mut n_cut = 0;
        for (text, ((rows, contexts), expected)) in texts.iter().zip(found.iter().zip(expected)) {
            let (ends, expected, cut) = expected.unwrap();
            n_cut += cut;
            prop_assert_eq!(rows.len(), ends.len(), "{:?}", text);
            let whole = |end: &(usize, usize)| end.1 > 0;
            for (found, expected) in rows.iter().map(|r| r.end as usize).zip(ends).filter(whole) {
                prop_assert_eq!(found, expected, "{:?}", text);
            }
            let joined: String = rows.iter().map(|r| &text[r.start as usize..r.end as usize]).collect();
            prop_assert_eq!(&joined, text);
            prop_assert_eq!(contexts, &expected, "{:?}", text);
        }
        prop_assert_eq!(batches.iter().map(|batch| batch.left_out.cut_units).sum::<u64>(), n_cut);
        // a row is known by its bytes
        let mut keys: BTreeMap<&str, u64> = BTreeMap::new();
        for (text, (rows, _)) in texts.iter().zip(&found) {
            for row in rows {
                let known = *keys.entry(&text[row.start as usize..row.end as usize]).or_insert(row.key);
                prop_assert_eq!(known, row.key);
            }
        }
        let n = keys.len();
        prop_assert_eq!(keys.into_values().collect::<std::collections::BTreeSet<_>>().len(), n);
    }

    /// Read on from any batch, in pieces however small, the same batches come; and the same as in large pieces.
    #[test]
    fn batches_of_units_are_the_same_from_any_batch_on(
        texts in prop::collection::vec("[a-e .\né日]{0,150}", 1..4), (own, pack, files) in any::<(bool, bool, bool)>(), unit in unit(), most in 1usize..4,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let contexts = if own { SpanContexts::Own } else { SpanContexts::Common };
        let texts: Vec<String> = texts.into_iter().map(|text| text + "end").collect();
        let options = CorpusOptions {
            rows: RowRule::Spans(contexts, unit),
            context_length: 16,
            batch_contexts: most,
            pack,
            ..write(folder.path(), if files { Kind::Files } else { Kind::Jsonl }, "", 0, &texts)
        };
        let mut corpus = Corpus::open_within(options.clone(), pair().to_vec(), TIGHT).unwrap();
        let (mut cursors, mut batches) = (vec![corpus.cursor()], Vec::new());
        while let Some(batch) = corpus.next_batch().unwrap() {
            batches.push(batch);
            cursors.push(corpus.cursor());
        }
        let bytes: u64 = batches.iter().flat_map(|b| &b.rows).map(|r| r.text.unwrap()).map(|t| t.end - t.start).sum();
        prop_assert_eq!(bytes, texts.iter().map(|t| t.len() as u64).sum::<u64>());
        prop_assert!(batches.iter().all(|batch| (1..=most).contains(&batch.views[0].contexts.len())));
        for (k, cursor) in cursors.iter().enumerate() {
            let text = serde_json::to_string(cursor).unwrap();
            let mut corpus = Corpus::open_within(options.clone(), pair().to_vec(), TIGHT).unwrap();
            corpus.seek(&serde_json::from_str(&text).unwrap()).unwrap();
            for expected in &batches[k..] {
                let next = corpus.next_batch().unwrap();
                prop_assert_eq!(next.as_ref(), Some(expected));
            }
            prop_assert!(corpus.next_batch().unwrap().is_none());
        }
    }

    /// Where each token is a word, words are tokens: the same batches, to the last bit.
    #[test]
    fn words_of_one_token_are_rows_of_tokens(
        texts in prop::collection::vec("[a-e]( [a-e]){0,40}", 1..5), (length, most) in (4usize..12, 1usize..5), (own, pack) in any::<(bool, bool)>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let contexts = if own { SpanContexts::Own } else { SpanContexts::Common };
        let of = |rows: RowRule| CorpusOptions {
            rows,
            context_length: length,
            batch_contexts: most,
            pack,
            ..write(folder.path(), Kind::Jsonl, "", 0, &texts)
        };
        let tokenizers = [tokenizer()];
        let tokens = read_views(&of(RowRule::Spans(contexts, RowUnit::Token)), &tokenizers, Limits::default());
        let words = read_views(&of(RowRule::Spans(contexts, RowUnit::Word)), &tokenizers, Limits::default());
        let n: usize = texts.iter().map(|text| text.split(' ').count()).sum();
        prop_assert_eq!(tokens.iter().map(TokenBatch::n_rows).sum::<usize>(), n);
        prop_assert_eq!(words, tokens);
    }
}

/// A row's bytes lie in order in its text; what a unit is, in words that a person checks.
#[test]
fn rows_are_words_sentences_and_documents() {
    let folder = tempfile::tempdir().unwrap();
    let texts = ["Dr. No can't  pay $3.50. He said so!\n\nOh? ".to_string()];
    for (unit, expected) in [
        (
            RowUnit::Word,
            vec![
                "Dr", ".", " No", " can't", "  pay", " $", "3.50", ".", " He", " said", " so", "!", "\n\nOh", "?", " ",
            ],
        ),
        (RowUnit::Sentence, vec!["Dr.", " No can't  pay $3.50.", " He said so!", "\n\nOh?", " "]),
        (RowUnit::Document, vec![texts[0].as_str()]),
    ] {
        for tokenizers in [&kinds()[1..2], &kinds()[4..5], &[kinds()[3].clone(), kinds()[4].clone()]] {
            let options = CorpusOptions {
                rows: RowRule::Spans(SpanContexts::Common, unit),
                context_length: 64,
                ..write(folder.path(), Kind::Jsonl, "", 0, &texts)
            };
            let batches = read_views(&options, tokenizers, Limits::default());
            let rows = batches.iter().flat_map(|b| &b.rows).map(|r| r.text.unwrap());
            let found: Vec<&str> = rows.map(|t| &texts[0][t.start as usize..t.end as usize]).collect();
            assert_eq!(found, expected, "{unit:?}");
        }
    }
}

/// A word longer than 16 KiB, a sentence longer than its contexts, a piece longer than a context.
#[test]
fn units_that_are_too_long_are_cut_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let read = |text: &str, unit: RowUnit, length: usize, most: usize| {
        let options = CorpusOptions {
            rows: RowRule::Spans(SpanContexts::Common, unit),
            context_length: length,
            batch_contexts: most,
            ..write(folder.path(), Kind::Jsonl, "", 0, &[text.to_string()])
        };
        let batches = read_views(&options, pair(), Limits::default());
        let rows: Vec<String> = (batches.iter().flat_map(|b| &b.rows).map(|r| r.text.unwrap()))
            .map(|t| text[t.start as usize..t.end as usize].to_string())
            .collect();
        let sum = |of: fn(&TokenBatch) -> u64| batches.iter().map(of).sum::<u64>();
        assert!(batches.iter().all(|b| b.views[0].contexts.len() <= most));
        (rows, sum(|b| b.left_out.cut_units), sum(|b| b.left_out.bytes))
    };
    let long = format!("{} end", "7a".repeat(10_000));
    let (rows, cut, left_out) = read(&long, RowUnit::Word, 1 << 15, 1);
    assert_eq!((rows.concat(), cut, left_out), (long.clone(), 1, 0));
    assert_eq!(rows.iter().map(String::len).collect::<Vec<_>>()[1..], [20_000 - rows[0].len(), 4]);
    assert!((16_384..16_400).contains(&rows[0].len()), "{}", rows[0].len());
    // four contexts hold it, three do not
    let text = "one two one two one two one two one two one two. Two.";
    for unit in [RowUnit::Sentence, RowUnit::Document] {
        let whole = read(text, unit, 12, 64);
        assert_eq!((whole.0.concat(), whole.1), (text.to_string(), 0));
        let parts = read(text, unit, 12, 1);
        assert_eq!((parts.0.concat(), parts.1), (text.to_string(), 1));
        assert!(parts.0.len() > whole.0.len(), "{:?}", parts.0);
    }
    // a piece that fits no context: what is before and behind stays, and the document is cut
    let text = "a 日本語日本語 b";
    let (rows, cut, left_out) = read(text, RowUnit::Document, 3, 64);
    assert!(left_out >= 18 && cut == 1, "{rows:?} {left_out} {cut}");
    assert_eq!(rows.concat().len() as u64 + left_out, text.len() as u64);
}

/// What was read of a document before a bad piece is in rows, as with rows of tokens.
#[test]
fn what_waits_before_a_bad_piece_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{}\0 more.", "One two. Three four five! ".repeat(20));
    let bytes = |unit: RowUnit| {
        let options = CorpusOptions {
            rows: RowRule::Spans(SpanContexts::Common, unit),
            context_length: 16,
            on_bad_record: OnBadRecord::Skip,
            ..write(folder.path(), Kind::Files, "", 0, std::slice::from_ref(&text))
        };
        let batches = read_views(&options, pair(), TIGHT);
        batches.iter().flat_map(|b| &b.rows).map(|r| r.text.unwrap()).map(|t| t.end - t.start).sum::<u64>()
    };
    let expected = bytes(RowUnit::Token);
    assert!((200..520).contains(&expected), "{expected}");
    for unit in UNITS {
        assert_eq!(bytes(unit), expected, "{unit:?}");
    }
}
