//! Rows that are pieces of text: against a plain reading of whole documents, against rows of tokens, and read on from every batch.

use super::*;
use crate::corpus::{
    BosRule, ByteTokens, Document, Remainder, RowRule, RowText, RowUnit, Sample, Shuffle, SpanContexts,
};
use proptest::prelude::*;
use std::collections::BTreeSet;

pub(super) fn kind(name: &str) -> Arc<Tokenizer> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers");
    Arc::new(Tokenizer::from_folder(&folder.join(name)).unwrap())
}

pub(super) fn pair() -> &'static [Arc<Tokenizer>; 2] {
    static PAIR: LazyLock<[Arc<Tokenizer>; 2]> = LazyLock::new(|| ["llama_sp", "neox_bpe"].map(kind));
    &PAIR
}

pub(super) fn read_views(options: &CorpusOptions, tokenizers: &[Arc<Tokenizer>], limits: Limits) -> Vec<TokenBatch> {
    let mut corpus = Corpus::open_within(options.clone(), tokenizers.to_vec(), limits).unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = corpus.next_batch().unwrap() {
        batches.push(batch);
    }
    batches
}

/// Ends that all share, and the ids of each piece, of a whole text.
pub(super) fn plain_rows(text: &str, views: &[ByteTokens]) -> Vec<(usize, Vec<Vec<u32>>)> {
    let ends = |v: &ByteTokens| -> BTreeSet<usize> {
        v.ends.iter().copied().filter(|&e| e > 0 && text.is_char_boundary(e)).collect()
    };
    let shared = views.iter().map(ends).reduce(|a, b| a.intersection(&b).copied().collect()).unwrap();
    let mut from = 0;
    let mut rows = Vec::new();
    for end in shared {
        let first = rows.is_empty();
        let inside = |v: &ByteTokens| {
            let of = v.ids.iter().zip(&v.ends).filter(|(_, e)| **e <= end && (**e > from || first));
            of.map(|(id, _)| *id).collect::<Vec<u32>>()
        };
        rows.push((end, views.iter().map(inside).collect::<Vec<_>>()));
        from = end;
    }
    rows
}

/// Contexts of each view: ids, and the number of each position's row in the document.
pub(super) type Contexts = Vec<Vec<(Vec<u32>, Vec<Option<usize>>)>>;

fn plainly(text: &str, tokenizers: &[Arc<Tokenizer>], length: usize, contexts: SpanContexts) -> (Vec<usize>, Contexts) {
    let views: Vec<ByteTokens> = tokenizers.iter().map(|t| t.encode_with_bytes(text).unwrap().unwrap()).collect();
    let rows = plain_rows(text, &views);
    let bos: Vec<u32> = tokenizers.iter().map(|t| t.bos_or_convention().unwrap()).collect();
    let mut out = vec![Vec::new(); views.len()];
    let begin = |v: usize| (vec![bos[v]], vec![None]);
    let mut begun: Vec<(Vec<u32>, Vec<Option<usize>>)> = (0..views.len()).map(begin).collect();
    for (r, (_, ids)) in rows.iter().enumerate() {
        let fits = |begun: &[(Vec<u32>, Vec<Option<usize>>)]| {
            begun.iter().zip(ids).all(|(b, ids)| b.0.len() + ids.len() <= length)
        };
        if contexts == SpanContexts::Common && !fits(&begun) {
            for (v, b) in begun.iter_mut().enumerate() {
                out[v].push(std::mem::replace(b, begin(v)));
            }
        }
        for (v, ids) in ids.iter().enumerate() {
            for id in ids {
                if begun[v].0.len() == length {
                    out[v].push(std::mem::replace(&mut begun[v], begin(v)));
                }
                begun[v].0.push(*id);
                begun[v].1.push(Some(r));
            }
        }
    }
    for (v, b) in begun.into_iter().enumerate() {
        if b.0.len() > 1 {
            out[v].push(b);
        }
    }
    (rows.iter().map(|(end, _)| *end).collect(), out)
}

/// Of each document its rows, and of each view the contexts with the rows' numbers in the document.
pub(super) fn by_document(batches: &[TokenBatch], n: usize, n_views: usize) -> Vec<(Vec<RowText>, Contexts)> {
    let mut found: Vec<(Vec<RowText>, Contexts)> = vec![(Vec::new(), vec![Vec::new(); n_views]); n];
    for batch in batches {
        let mut of_row = Vec::new();
        for r in 0..batch.n_rows() {
            let document = batch.document_of(r).number as usize;
            of_row.push((document, found[document].0.len()));
            found[document].0.push(batch.rows[r].text.unwrap());
        }
        for (v, view) in batch.views.iter().enumerate() {
            for context in &view.contexts {
                let rows: Vec<Option<usize>> = context.row_of.iter().map(|r| Some(of_row[(*r)? as usize].1)).collect();
                let (first, _) = context.tokens().next().unwrap();
                let there = &mut found[of_row[first].0].1[v];
                match there.last_mut() {
                    // a context that comes again holds the same ids, and other rows
                    Some((ids, mine))
                        if *ids == context.ids
                            && mine.iter().zip(&rows).all(|(a, b)| a.is_none() || b.is_none())
                            && mine.iter().any(Option::is_some)
                            && mine.iter().zip(&rows).skip(1).any(|(a, _)| a.is_none()) =>
                    {
                        mine.iter_mut().zip(rows).for_each(|(a, b)| *a = b.or(*a));
                    }
                    _ => there.push((context.ids.clone(), rows)),
                }
            }
        }
    }
    found
}

pub(super) fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-e ]{0,12}",
        "[ \n\t]{1,4}",
        "[0-9]{1,5}",
        Just("\r\n".to_string()),
        Just("é e\u{301} 日本".to_string()),
        Just("👩‍👩‍👧".to_string()),
        "[A-Za-z ,.]{0,20}",
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(cases(48))]

    /// Rows, contexts and texts are those of each document read plainly.
    #[test]
    fn rows_and_contexts_are_those_of_the_plain_reading(texts in prop::collection::vec(text(), 1..5), length in 12usize..24, own: bool) {
        let contexts = if own { SpanContexts::Own } else { SpanContexts::Common };
        let folder = tempfile::tempdir().unwrap();
        let options = CorpusOptions {
            rows: RowRule::Spans(contexts, RowUnit::Token),
            context_length: length,
            batch_contexts: 3,
            ..write(folder.path(), Kind::Jsonl, "", 0, &texts)
        };
        if texts.iter().all(|text| text.is_empty()) {
            return Ok(());
        }
        let batches = read_views(&options, pair(), Limits::default());
        let found = by_document(&batches, texts.len(), 2);
        for (text, (rows, contexts_found)) in texts.iter().zip(&found) {
            let (ends, expected) = plainly(text, pair(), length, contexts);
            prop_assert_eq!(rows.iter().map(|r| r.end as usize).collect::<Vec<_>>(), ends);
            let joined: String = rows.iter().map(|r| &text[r.start as usize..r.end as usize]).collect();
            prop_assert_eq!(&joined, text);
            prop_assert_eq!(contexts_found, &expected);
        }
    }

    /// With one tokenizer, once or twice, rows are those of tokens but for tokens that end inside a character or have no bytes.
    #[test]
    fn with_equal_tokenizers_rows_are_tokens(
        texts in prop::collection::vec(prop_oneof![Just("a b  c\nd e f g h i j k l m".to_string()), "[a-e \n]{0,60}", text()], 1..6),
        (length, keep, pack, own, shuffled) in (6usize..14, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        bos in prop_oneof![Just(BosRule::Context), Just(BosRule::Document), Just(BosRule::None)],
        part in prop_oneof![Just(1.0), Just(0.6)],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let options = CorpusOptions {
            context_length: length,
            batch_contexts: 3,
            bos,
            pack,
            remainder: if keep { Remainder::Keep } else { Remainder::Drop },
            shuffle: shuffled.then_some(Shuffle { block: 2 }),
            sample: (part < 1.0).then_some(Sample { fraction: part, seed: 3 }),
            ..write(folder.path(), Kind::Jsonl, "", 0, &texts)
        };
        let tokenizer = tokenizer();
        let plain = |options: &CorpusOptions| {
            let mut corpus = Corpus::open(options.clone(), tokenizer.clone()).unwrap();
            let mut batches = Vec::new();
            while let Ok(Some(batch)) = corpus.next_batch() {
                batches.push(batch);
            }
            batches
        };
        let tokens = plain(&options);
        let contexts = if own { SpanContexts::Own } else { SpanContexts::Common };
        let spans = CorpusOptions { rows: RowRule::Spans(contexts, RowUnit::Token), ..options.clone() };
        let parts = texts.iter().map(|text| tokenizer.encode_with_bytes(text).unwrap().unwrap());
        let inside: usize = parts.zip(&texts).map(|(t, text)| {
            t.ends.iter().zip(t.ends.iter().skip(1).chain([&usize::MAX])).filter(|(e, next)| !text.is_char_boundary(**e) || e == next || **e == 0).count()
        }).sum();
        for views in 1..=2 {
            let mut corpus = Corpus::open_views(spans.clone(), vec![tokenizer.clone(); views]).unwrap();
            let mut found: Vec<TokenBatch> = Vec::new();
            while let Ok(Some(batch)) = corpus.next_batch() {
                found.push(batch);
            }
            let n = |batches: &[TokenBatch]| batches.iter().map(TokenBatch::n_rows).sum::<usize>();
            if inside == 0 {
                prop_assert_eq!(found.len(), tokens.len());
                for (found, tokens) in found.iter().zip(&tokens) {
                    prop_assert!(found.views.iter().all(|view| *view == tokens.views[0]));
                    // a document that is an EOS alone has no row
                    let rows = |batch: &TokenBatch| -> Vec<(Document, u32)> {
                        (0..batch.n_rows()).map(|r| (batch.document_of(r).clone(), batch.rows[r].context)).collect()
                    };
                    prop_assert_eq!(rows(found), rows(tokens));
                    prop_assert_eq!(found.first_row, tokens.first_row);
                }
            } else if keep && part == 1.0 {
                prop_assert_eq!(n(&found) + inside, n(&tokens));
            }
        }
    }

    /// Read on from any batch, in pieces however small, the same batches come.
    #[test]
    fn batches_are_the_same_from_any_batch_on(
        texts in prop::collection::vec("[a-e \né日]{0,200}", 1..4), own: bool, pack: bool, lines: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let kind = if lines { Kind::Files } else { Kind::Jsonl };
        let contexts = if own { SpanContexts::Own } else { SpanContexts::Common };
        let texts: Vec<String> = texts.into_iter().map(|text| text + "end").collect();
        let options = CorpusOptions {
            rows: RowRule::Spans(contexts, RowUnit::Token),
            context_length: 16,
            batch_contexts: 2,
            pack,
            ..write(folder.path(), kind, "", 0, &texts)
        };
        let mut corpus = Corpus::open_within(options.clone(), pair().to_vec(), TIGHT).unwrap();
        let (mut cursors, mut batches) = (vec![corpus.cursor()], Vec::new());
        while let Some(batch) = corpus.next_batch().unwrap() {
            batches.push(batch);
            cursors.push(corpus.cursor());
        }
        let mut counted = [0; 2];
        for batch in &batches {
            for (view, counted) in batch.views.iter().zip(&mut counted) {
                prop_assert_eq!(view.first_token, *counted);
                *counted += view.contexts.iter().flat_map(|context| &context.row_of).flatten().count() as u64;
            }
        }
        // contexts of the first tokenizer come once: each begins with text that no row before has
        for context in batches.iter().flat_map(|b| &b.views[0].contexts) {
            let text = context.ids.iter().zip(&context.row_of).find(|(id, _)| ![1, 2].contains(*id));
            prop_assert!(text.is_none_or(|(_, row)| row.is_some()), "{:?}", context);
        }
        let bytes: u64 = batches.iter().flat_map(|b| &b.rows).map(|r| r.text.unwrap()).map(|t| t.end - t.start).sum();
        prop_assert_eq!(bytes, texts.iter().map(|t| t.len() as u64).sum::<u64>());
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
}

#[test]
fn an_eos_of_either_tokenizer_ends_the_document_and_a_row_that_fits_no_context_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let texts = ["one two</s>three<|endoftext|>four".to_string()];
    let options = CorpusOptions {
        rows: RowRule::Spans(SpanContexts::Common, RowUnit::Token),
        context_length: 20,
        ..write(folder.path(), Kind::Jsonl, "", 0, &texts)
    };
    let batches = read_views(&options, pair(), Limits::default());
    let names: Vec<&str> = batches[0].documents.iter().map(|d| &d.name[d.name.len() - 2..]).collect();
    assert_eq!(names, [":1", "#2", "#3"]);
    let said: String =
        batches[0].rows.iter().map(|r| r.text.unwrap()).map(|t| &texts[0][t.start as usize..t.end as usize]).collect();
    assert_eq!(said, "one twothreefour");
    assert_eq!(batches[0].left_out.bytes, 0);
    // a family of seven characters is one token of none: 28 bytes of llama_sp do not fit
    let texts = ["a 日本語日本語 b".to_string()];
    let options = CorpusOptions {
        context_length: 3,
        ..CorpusOptions { rows: options.rows, ..write(folder.path(), Kind::Lines, "", 0, &texts) }
    };
    let batches = read_views(&options, pair(), Limits::default());
    let bytes: u64 = batches.iter().flat_map(|b| &b.rows).map(|r| r.text.unwrap()).map(|t| t.end - t.start).sum();
    let left_out: u64 = batches.iter().map(|b| b.left_out.bytes).sum();
    assert!(left_out >= 18, "{left_out}");
    assert_eq!(bytes + left_out, texts[0].len() as u64);
}

/// The segments that the fixture's script found with the library in Python.
#[test]
fn rows_are_those_of_the_fixture() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/crosstok");
    let said: Vec<serde_json::Value> =
        serde_json::from_str(&std::fs::read_to_string(folder.join("segments.json")).unwrap()).unwrap();
    let file = folder.join("corpus.jsonl").display().to_string();
    let texts: Vec<String> = (std::fs::read_to_string(&file).unwrap().lines())
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["text"].as_str().unwrap().to_string())
        .collect();
    for contexts in [SpanContexts::Common, SpanContexts::Own] {
        let options = CorpusOptions {
            rows: RowRule::Spans(contexts, RowUnit::Token),
            ..options(std::slice::from_ref(&file), 64)
        };
        let batches = read_views(&options, pair(), Limits::default());
        let mut found = vec![Vec::new(); texts.len()];
        for batch in &batches {
            for r in 0..batch.n_rows() {
                found[batch.document_of(r).number as usize].push(batch.rows[r].text.unwrap());
            }
        }
        // documents without text are not in the fixture's list, and have no rows
        let n_said = said.iter().map(|said| said["segments"].as_array().unwrap().len()).sum::<usize>();
        assert!(n_said > 9_000 && found.iter().map(Vec::len).sum::<usize>() == n_said, "{n_said}");
        for said in &said {
            let (text, rows) =
                (&texts[said["doc"].as_u64().unwrap() as usize], &found[said["doc"].as_u64().unwrap() as usize]);
            let chars = |byte: u64| text[..byte as usize].chars().count() as u64;
            let rows: Vec<[u64; 2]> = rows.iter().map(|t| [chars(t.start), chars(t.end)]).collect();
            let segments = said["segments"].as_array().unwrap();
            let segments: Vec<[u64; 2]> = segments.iter().map(|s| [0, 1].map(|k| s[k].as_u64().unwrap())).collect();
            assert_eq!(rows, segments, "{text:?}");
        }
    }
}
