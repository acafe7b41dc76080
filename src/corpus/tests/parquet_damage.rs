//! Parquet files that are hurt, and such whose types or compressions are not read.

use super::damage::check;
use super::{options, read, tokenizer};
use crate::corpus::record::Limits;
use crate::corpus::{Corpus, CorpusOptions, OnBadRecord};
use crate::error::ErrorKind;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use std::path::Path;
use std::sync::Arc;

/// Writes a Parquet file of one row group.
fn write_as(path: &Path, columns: Vec<(&str, ArrayRef)>, properties: WriterPropertiesBuilder) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Writes a Parquet file of one row group whose texts lie in pages of 40 rows.
fn in_pages(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let in_pages = WriterProperties::builder()
        .set_data_page_row_count_limit(40)
        .set_write_batch_size(8)
        .set_dictionary_enabled(false)
        .set_compression(Compression::ZSTD(Default::default()));
    write_as(path, columns, in_pages);
}

/// Damages the bytes of the page that holds row `row` of column `column` behind its header.
fn hurt_page(path: &Path, column: usize, row: i64) {
    use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
    let file = std::fs::File::open(path).unwrap();
    let meta =
        ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required).parse_and_finish(&file).unwrap();
    let index = meta.page_index_for_row_group(0);
    let pages = index.page_locations(column).unwrap();
    let page = pages.iter().rev().find(|p| p.first_row_index <= row).unwrap();
    let (start, size) = (page.offset as usize, page.compressed_page_size as usize);
    let mut bytes = std::fs::read(path).unwrap();
    bytes[start + size / 2..start + size].fill(0xAA);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_page_of_parquet_costs_its_rows_and_a_damaged_name_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.parquet");
    let texts: Vec<String> = (0..400).map(|i| format!("document {i} {}", i * 7919 % 1000)).collect();
    let names: Vec<String> = (0..400).map(|i| format!("name {i} {}", i * 104_729 % 1000)).collect();
    let columns = || -> Vec<(&str, ArrayRef)> {
        vec![("text", Arc::new(StringArray::from(texts.clone()))), ("id", Arc::new(StringArray::from(names.clone())))]
    };
    let options = options(&[path.display().to_string()], 16);
    // rows 120 to 159 lie in one page, which the steps of 16 rows from 112 to 159 touch
    in_pages(&path, columns());
    hurt_page(&path, 0, 130);
    check(options.clone(), Limits::default(), &["row group 0", "behind row 112", "48 rows are lost"], 352, 48);
    // two pages, one after the other and apart
    in_pages(&path, columns());
    hurt_page(&path, 0, 0);
    hurt_page(&path, 0, 50);
    hurt_page(&path, 0, 399);
    check(options.clone(), Limits::default(), &["row group 0", "80 rows are lost"], 272, 128);
    in_pages(&path, columns());
    hurt_page(&path, 1, 130);
    let (batches, progress) = read(options, Limits::default()).unwrap();
    assert_eq!((progress.documents, progress.skipped_records), (400, 0));
    let of =
        |k: usize| batches.iter().flat_map(|b| &b.documents).find(|d| d.number == k as u64).unwrap().name.to_string();
    assert_eq!([of(100), of(170)], [names[100].clone(), names[170].clone()]);
    assert!(of(130).ends_with("p.parquet:131"));
}

#[test]
fn names_that_nobody_asked_for_are_passed_over_where_they_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("n.parquet");
    let column = |values: [&str; 2]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
    let columns = vec![("text", column(["a b", "c d"])), ("id", column(["x", "y"]))];
    write_as(&path, columns, WriterProperties::builder().set_compression(Compression::SNAPPY));
    let asked = options(&[path.display().to_string()], 8);
    let names = |asked: &CorpusOptions| -> Vec<String> {
        let (batches, _) = read(asked.clone(), Limits::default()).unwrap();
        batches.iter().flat_map(|b| &b.documents).map(|d| d.name.to_string()).collect()
    };
    assert_eq!(names(&asked), ["x", "y"]);
    // 1 (Snappy, written as 2) becomes 4, Brotli
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(4).rposition(|w| w == b"id\x15\x02").unwrap();
    bytes[at + 3] = 8;
    std::fs::write(&path, bytes).unwrap();
    let found = names(&asked);
    assert!(found[0].ends_with("n.parquet:1") && found[1].ends_with("n.parquet:2"), "{found:?}");
    // asked for, as a label
    let labelled = CorpusOptions { labels: vec!["id".into()], ..asked };
    let said = Corpus::open(labelled, tokenizer()).err().unwrap().to_string();
    assert!(said.contains("column \"id\" is compressed by BROTLI"), "{said}");
}

#[test]
fn parquet_types_and_compressions_that_are_not_read_are_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.parquet");
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    write_as(&path, vec![("text", texts)], WriterProperties::builder().set_compression(Compression::SNAPPY));
    // in the footer the codec stands behind the column's name: 1 (Snappy, written as 2) becomes 3, LZO
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(6).rposition(|w| w == b"text\x15\x02").unwrap();
    bytes[at + 5] = 6;
    std::fs::write(&path, bytes).unwrap();
    for on_bad_record in [OnBadRecord::Error, OnBadRecord::Skip] {
        let options = CorpusOptions { on_bad_record, ..options(&[path.display().to_string()], 8) };
        let error = Corpus::open(options, tokenizer()).err().unwrap();
        let said = error.to_string();
        assert!(error.kind() == ErrorKind::Request && said.contains("l.parquet") && said.contains("LZO"), "{said}");
        assert!(said.contains("row group 0") && said.contains("zstd") && !said.contains("damage"), "{said}");
    }
}
