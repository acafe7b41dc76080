//! Pages of Parquet files are decoded whole: how large they are is known before.

use super::{TIGHT, options, parquet, read, tokenizer};
use crate::corpus::record::Limits;
use crate::corpus::{Corpus, CorpusOptions};
use crate::error::ErrorKind;
use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::Compression;
use ::parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use arrow::array::{ArrayRef, ListBuilder, RecordBatch, StringArray, UInt16Builder};
use std::path::Path;
use std::sync::Arc;

/// Writes a column into one row group.
fn written(path: &Path, name: &str, column: ArrayRef, properties: WriterPropertiesBuilder) {
    let batch = RecordBatch::try_from_iter(vec![(name, column)]).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Text of `n` bytes that says something else every few words.
fn text(n: usize) -> String {
    (0u64..)
        .map(|k| format!("word {} ", k * 2_654_435_761 % 10_007))
        .flat_map(|w| w.into_bytes())
        .map(char::from)
        .take(n)
        .collect()
}

#[test]
fn the_largest_page_is_counted_and_one_that_was_not_is_refused_before_it_is_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.parquet");
    let asked = options(&[path.display().to_string()], 16);
    let large = 900_000;
    let texts: Vec<String> = (0..50).map(|k| text(if k == 33 { large } else { 20_000 })).collect();
    let column: ArrayRef = Arc::new(StringArray::from(texts));
    let small_pages = || WriterProperties::builder().set_write_batch_size(1).set_data_page_size_limit(30_000);
    for (codec, dictionary) in [
        (Compression::UNCOMPRESSED, false),
        (Compression::ZSTD(Default::default()), false),
        (Compression::SNAPPY, true),
        (Compression::GZIP(Default::default()), true),
    ] {
        let properties = small_pages().set_compression(codec).set_dictionary_enabled(dictionary);
        written(&path, "text", column.clone(), properties);
        let taken = Corpus::open(asked.clone(), tokenizer()).unwrap().facts().pages_bytes;
        let expected = 4 * large as u64..8 * 2_000_000;
        assert!(expected.contains(&taken), "{codec}, {dictionary}: {taken}");
        let limits = Limits { page_bytes: large as u64 / 2, ..Limits::default() };
        let error = read(asked.clone(), limits).unwrap_err();
        let said = error.to_string();
        assert!(error.kind() == ErrorKind::Request && said.contains("p.parquet: row group 0 has a page of"), "{said}");
        assert!(said.contains("439 KiB were planned for") && said.contains("write_batch_size"), "{said}");
    }
    // small pages take little, and are not looked at
    parquet(&path, vec![("text", Arc::new(StringArray::from(vec!["a b c"; 20])))]);
    assert!(Corpus::open(asked, tokenizer()).unwrap().facts().pages_bytes < 100_000);
}

#[test]
fn rows_of_any_length_give_the_contexts_of_the_same_rows_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.parquet");
    let texts: Vec<String> = [3, 900, 0, 200, 201, 5000, 40].map(text).to_vec();
    let all = |asked: &CorpusOptions, limits: Limits| {
        let (batches, progress) = read(asked.clone(), limits).unwrap();
        let contexts = batches.iter().flat_map(|b| b.views[0].contexts.clone()).collect::<Vec<_>>();
        (contexts, progress.documents)
    };
    let plain = WriterProperties::builder;
    written(&path, "text", Arc::new(StringArray::from(texts.clone())), plain());
    let asked = options(&[path.display().to_string()], 16);
    let roomy = Limits { record_bytes: 1 << 20, ..TIGHT };
    assert_eq!(all(&asked, roomy), all(&asked, Limits::default()));
    let mut lists = ListBuilder::new(UInt16Builder::new());
    for text in &texts {
        tokenizer().encode(text).unwrap().iter().for_each(|id| lists.values().append_value(*id as u16));
        lists.append(true);
    }
    written(&path, "ids", Arc::new(lists.finish()), plain());
    let asked = CorpusOptions { ids: Some("ids".into()), ..asked };
    assert_eq!(all(&asked, roomy), all(&asked, Limits::default()));
}
