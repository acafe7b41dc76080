//! Sequences of ids in safetensors: the documents that rows of ids in Parquet are, from any batch on; what is no such file is refused.

use super::{TIGHT, options, parquet, read, tokenizer};
use crate::corpus::record::Limits;
use crate::corpus::{BosRule, Corpus, CorpusOptions, OnBadRecord, RowRule, RowUnit, SpanContexts, TokenBatch};
use crate::error::ErrorKind;
use arrow::array::{ListBuilder, UInt32Builder};
use safetensors::tensor::{Dtype, TensorView};
use std::path::Path;
use std::sync::Arc;

/// Writes sequences of one length as a tensor, beside `locations` where they are to be of a latent cache.
fn write(path: &Path, tensor: &str, sequences: &[Vec<i64>], is_split: bool) -> String {
    let bytes: Vec<u8> = sequences.iter().flatten().flat_map(|id| id.to_le_bytes()).collect();
    let shape = vec![sequences.len(), sequences[0].len()];
    let mut views = vec![(tensor, TensorView::new(Dtype::I64, shape, &bytes).unwrap())];
    if is_split {
        views.push(("locations", TensorView::new(Dtype::U16, vec![0, 3], &[]).unwrap()));
    }
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
    path.display().to_string()
}

/// Every third begins with BOS.
fn sequences(n: usize, length: usize) -> Vec<Vec<i64>> {
    let id = |k: usize, j: usize| if j == 0 && k.is_multiple_of(3) { 0 } else { ((k * 31 + j * 7) % 300 + 1) as i64 };
    (0..n).map(|k| (0..length).map(|j| id(k, j)).collect()).collect()
}

fn unnamed(mut batches: Vec<TokenBatch>) -> Vec<TokenBatch> {
    batches.iter_mut().flat_map(|b| &mut b.documents).for_each(|d| (d.name, d.file) = ("".into(), 0));
    batches
}

#[test]
fn sequences_are_the_documents_of_rows_of_ids() {
    let folder = tempfile::tempdir().unwrap();
    // shorter than a context, one, and longer than a piece
    for length in [5, 8, 45] {
        let sequences = sequences(11, length);
        let mut lists = ListBuilder::new(UInt32Builder::new());
        sequences.iter().for_each(|ids| lists.append_value(ids.iter().map(|id| Some(*id as u32))));
        let rows = folder.path().join("rows.parquet");
        parquet(&rows, vec![("ids", Arc::new(lists.finish()))]);
        let tensor = write(&folder.path().join("0_204.safetensors"), "tokens", &sequences, true);
        for (bos, pack) in [(BosRule::Context, false), (BosRule::None, true), (BosRule::Document, false)] {
            let with = |options: CorpusOptions| CorpusOptions { bos, pack, batch_contexts: 3, ..options };
            let of_rows = CorpusOptions { ids: Some("ids".into()), ..options(&[rows.display().to_string()], 8) };
            let expected = unnamed(read(with(of_rows), Limits::default()).unwrap().0);
            let options = with(options(std::slice::from_ref(&tensor), 8));
            assert_eq!(unnamed(read(options.clone(), Limits::default()).unwrap().0), expected, "{length} {bos:?}");
            let (found, _) = read(options.clone(), TIGHT).unwrap();
            assert!(found[0].documents[0].name.ends_with("0_204.safetensors:1"));
            assert_eq!(unnamed(found.clone()), expected, "{length} {bos:?} in pieces");
            let mut corpus = Corpus::open_within(options.clone(), vec![tokenizer()], TIGHT).unwrap();
            for (start, expected) in found.iter().enumerate() {
                let mut other = Corpus::open_within(options.clone(), vec![tokenizer()], TIGHT).unwrap();
                other.seek(&corpus.cursor()).unwrap();
                assert_eq!(other.next_batch().unwrap().as_ref(), Some(expected), "{length} {bos:?} from {start}");
                corpus.next_batch().unwrap();
            }
        }
    }
}

#[test]
fn what_is_no_file_of_ids_is_refused_and_a_bad_sequence_is_a_bad_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let told = |options: CorpusOptions, kind: ErrorKind, words: &[&str]| {
        let error = read(options, TIGHT).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let said = error.to_string();
        words.iter().for_each(|word| assert!(said.contains(word), "no {word:?} in {said}"));
    };
    let whole = sequences(6, 20);
    let split = |name: &str| write(&path(name), "tokens", &whole, true);
    told(
        options(&[split("0_9.safetensors"), split("10_19.safetensors")], 8),
        ErrorKind::Request,
        &["0_9.safetensors and", "10_19.safetensors are splits of one latent cache", "name one of them"],
    );
    // shards of ids are no splits
    let shards = [0, 1].map(|k| write(&path(&format!("shard{k}.safetensors")), "ids", &whole, false));
    assert_eq!(read(options(&shards, 8), TIGHT).unwrap().1.documents, 12);
    let one = write(&path("named.safetensors"), "mine", &whole, false);
    let of_one = || options(std::slice::from_ref(&one), 8);
    told(of_one(), ErrorKind::Request, &["no tensor \"tokens\" or \"ids\"", "the file holds mine", "ids = \"NAME\""]);
    let named = CorpusOptions { ids: Some("mine".into()), ..of_one() };
    assert_eq!(read(named.clone(), TIGHT).unwrap().1.documents, 6);
    let rows = RowRule::Spans(SpanContexts::Common, RowUnit::Token);
    told(CorpusOptions { rows, ..named.clone() }, ErrorKind::Request, &["holds ready-made ids of one tokenizer"]);
    let labels = vec!["lang".to_string()];
    told(CorpusOptions { labels, ..named }, ErrorKind::Request, &["only .jsonl and .parquet files label"]);
    let packed = path("a.safetensors.gz");
    std::fs::write(&packed, b"\x1f\x8b").unwrap();
    told(options(&[packed.display().to_string()], 8), ErrorKind::Request, &["safetensors inside a compression"]);
    std::fs::write(path("cut.safetensors"), b"short").unwrap();
    told(options(&[path("cut.safetensors").display().to_string()], 8), ErrorKind::Input, &["cut.safetensors"]);

    // in the first piece: the pieces behind it are left out too
    let mut wrong = whole.clone();
    wrong[2][3] = -1;
    let good: Vec<Vec<i64>> = whole.iter().enumerate().filter(|(k, _)| *k != 2).map(|(_, ids)| ids.clone()).collect();
    let [of_wrong, of_good] = [(&wrong, "first-piece"), (&good, "good")].map(|(ids, name)| {
        let file = write(&path(&format!("{name}.safetensors")), "ids", ids, false);
        read(CorpusOptions { on_bad_record: OnBadRecord::Skip, ..options(&[file], 8) }, TIGHT).unwrap()
    });
    assert_eq!((of_wrong.1.skipped_records, of_wrong.1.documents), (1, 5));
    let ids = |batches: &[TokenBatch]| -> Vec<Vec<u32>> {
        batches.iter().flat_map(|b| &b.views[0].contexts).map(|context| context.ids.clone()).collect()
    };
    assert_eq!(ids(&of_wrong.0), ids(&of_good.0));

    // behind the first piece, and not in the vocabulary
    for (bad, words) in [(-1, "sequence 2 has the id -1 at position 18"), (1 << 20, "id 1048576 at position")] {
        let mut wrong = whole.clone();
        wrong[2][18] = bad;
        let file = write(&path("wrong.safetensors"), "ids", &wrong, false);
        let options = options(&[file], 8);
        told(options.clone(), ErrorKind::Input, &["wrong.safetensors", words]);
        let options = CorpusOptions { on_bad_record: OnBadRecord::Skip, ..options };
        let (_, progress) = read(options, Limits::default()).unwrap();
        assert_eq!((progress.skipped_records, progress.documents), (1, 5), "{bad}");
    }
}
