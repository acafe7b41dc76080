//! Does a table read back as it was written, does its file describe itself, and is what is no such table refused?

use super::*;
use crate::error::ErrorKind;
use crate::table::reader::open;
use std::path::Path;

#[test]
fn every_table_reads_back_as_written_and_writes_the_same_bytes_again() {
    round_trip(labels(), latents(40)).unwrap();
    round_trip(vec![], latents(3).into_iter().map(|r| LatentRow { labels: vec![], ..r }).collect()).unwrap();
    round_trip((), matches(30)).unwrap();
    round_trip((), similarities()).unwrap();
    round_trip((), maps()).unwrap();
    round_trip((), groups(9)).unwrap();
    round_trip((), group_sizes()).unwrap();
    round_trip((), cycles()).unwrap();
    round_trip::<GroupRow>((), vec![]).unwrap();
    round_trip((), pair_table(9)).unwrap();
    round_trip((), read_out(9)).unwrap();
    round_trip(vec!["svcca".into(), "rsa".into()], history(4)).unwrap();
    round_trip::<MatchRow>((), vec![]).unwrap();
    // More than one chunk, more than one batch.
    round_trip(labels(), latents(7000)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_numbers_and_texts_come_back(
        values in proptest::collection::vec((proptest::num::f64::NORMAL | proptest::num::f64::ZERO | proptest::num::f64::SUBNORMAL,
            any::<Option<u32>>(), ".{0,12}"), 0..60)
    ) {
        let rows = values.iter().enumerate().map(|(i, (x, partner, text))| MatchRow {
            cosines: Default::default(),
            listed: Default::default(),
            pair: pair("m/embed", "ü/final_norm"),
            source_latent: Some(i as u32),
            target_latent: *partner,
            correlation: partner.map(|_| *x),
            significance: Significance { margin: partner.map(|_| -*x), ..Significance::default() },
            exact_tokens: i as u64,
            sketch_error: partner.map(|_| x / 3.0),
            rank: 1,
            direction: Direction::Forward,
            mutual: *x > 0.0,
            kept: false,
            dropped_by: Some(text.clone()).filter(|t| !t.is_empty()),
        });
        round_trip((), rows.collect())?;
    }
}

#[test]
fn columns_and_file_describe_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.parquet");
    write_table(&path, (), &origin(), pair_table(2)).unwrap();
    let of_pairs = open(&path).unwrap().schema;
    write_table(&path, labels(), &origin(), latents(2)).unwrap();
    let opened = open(&path).unwrap();
    for f in opened.schema.fields().iter().chain(of_pairs.fields()) {
        assert!(f.metadata().get("description").is_some_and(|d| d.len() > 10), "{f:?}");
    }
    assert!(opened.about["description"].contains("latent"));
    // pyarrow looks into the Arrow schema alone.
    assert_eq!(opened.schema.metadata().get("description"), opened.about.get("description"));
    assert_eq!(opened.about["cognate.key"], "model,hookpoint,latent");
    let names: Vec<&str> = opened.schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(
        names[13..],
        [
            "categories",
            "label.lang.de.n_active",
            "label.lang.de.sum",
            "label.lang.en.us.n_active",
            "label.lang.en.us.sum",
            "label.domain.law.n_active",
            "label.domain.law.sum"
        ]
    );
}

#[test]
fn row_groups_do_not_grow_with_the_snapshots_and_are_bounded_in_large_tables() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let groups = |path: &Path| -> Vec<i64> {
        let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
        reader.metadata().row_groups().iter().map(|g| g.num_rows()).collect()
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.parquet");
    write_table(&path, vec!["svcca".into(), "rsa".into()], &origin(), history(3)).unwrap();
    assert_eq!(groups(&path), [6]);
    write_table(&path, (), &origin(), matches(70_000)).unwrap();
    let sizes = groups(&path);
    assert!(sizes.len() == 3 && sizes.iter().all(|n| *n <= MAX_ROW_GROUP_ROWS as i64), "{sizes:?}");
}

#[test]
fn a_bug_upstream_is_named_and_leaves_the_table_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.parquet");
    let good = write_table(&path, labels(), &origin(), latents(3)).unwrap();
    let broken = |change: fn(&mut Vec<LatentRow>)| {
        let mut rows = latents(3);
        change(&mut rows);
        let e = write_table(&path, labels(), &origin(), rows).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::State);
        e.to_string()
    };
    assert!(broken(|r| r.swap(1, 2)).contains("row a/resid_post.2/1 comes after a/resid_post.2/2"));
    assert!(broken(|r| r[1].latent = 0).contains("comes after"), "a key twice");
    assert!(broken(|r| r[4].mean = f64::NAN).contains("row a/resid_post.10/1, column \"mean\""));
    assert!(broken(|r| r[5].top[1].value = f32::INFINITY).contains("row a/resid_post.10/2, column \"top\""));
    assert!(broken(|r| r[0].labels.truncate(1)).contains("extra values"));
    assert_eq!(crate::store::digest_of(&path).unwrap(), good);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing half is left");
    let twice = write_table(&path, vec!["churn".into()], &origin(), Vec::<HistoryRow>::new()).unwrap_err();
    assert!(twice.kind() == ErrorKind::Request && twice.to_string().contains("churn"), "{twice}");
}

#[test]
fn a_file_that_is_no_such_table_is_refused_and_damage_never_panics() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.parquet");
    write_table(&path, (), &origin(), matches(400)).unwrap();
    let refused = TableReader::<SimilarityRow>::open(&path).err().unwrap().to_string();
    assert!(refused.contains("is matches of format 5, expected similarities"), "{refused}");
    let bytes = std::fs::read(&path).unwrap();
    for i in (0..bytes.len()).step_by(37) {
        for hurt in [bytes[..i].to_vec(), [&bytes[..i], &[bytes[i] ^ 0x55], &bytes[i + 1..]].concat()] {
            std::fs::write(&path, hurt).unwrap();
            if let Err(e) = TableReader::<MatchRow>::open(&path).and_then(TableReader::read_all) {
                assert_eq!(e.kind(), ErrorKind::Input, "{e}");
            }
        }
    }
}

#[test]
fn a_table_of_an_earlier_format_is_refused_with_both_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("matches.parquet");
    write_table(&path, (), &origin(), matches(5)).unwrap();
    let mut opened = open(&path).unwrap();
    assert_eq!(opened.about.insert("cognate.format".into(), "1".into()), Some(TABLE_FORMAT.to_string()));
    let batches: Vec<_> = opened.batches.map(|b| b.unwrap()).collect();
    let about = opened.about.into_iter().map(|(k, v)| parquet::file::metadata::KeyValue::new(k, v)).collect();
    let properties = parquet::file::properties::WriterProperties::builder().set_key_value_metadata(Some(about)).build();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batches[0].schema(), Some(properties)).unwrap();
    batches.iter().for_each(|b| writer.write(b).unwrap());
    writer.close().unwrap();
    let refused = TableReader::<MatchRow>::open(&path).err().unwrap().to_string();
    assert!(refused.contains("is matches of format 1, expected matches of format 5"), "{refused}");
}
