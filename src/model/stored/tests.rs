use super::*;
use crate::corpus::{Document, TokenBatch};
use crate::error::ErrorKind;
use crate::weights::safetensors::written;
use std::path::Path;

const WIDTH: usize = 3;

/// Row `row` of the corpus at one place.
fn values(row: u64) -> [f32; WIDTH] {
    [row as f32, -0.5, row as f32 * 0.125]
}

/// Files `a`, `b`, … with so many rows each, and the pattern that finds them.
fn shards(folder: &Path, lengths: &[u64]) -> String {
    let mut row = 0;
    for (k, n) in lengths.iter().enumerate() {
        let held: Vec<f32> = (row..row + n).flat_map(values).collect();
        let path = folder.join(format!("{k:02}.safetensors"));
        std::fs::write(path, written(&[("x", vec![*n as usize, WIDTH], held)], &serde_json::json!({}))).unwrap();
        row += n;
    }
    folder.join("*.safetensors").display().to_string()
}

fn stored(paths: &[String]) -> Stored {
    let files = RowFiles { paths: paths.to_vec(), tensor: None };
    Stored::new("a", vec![StoredPlace { hookpoint: Hookpoint::ResidPost(1), width: WIDTH, files }], Vec::new())
}

/// A batch of contexts of two counted tokens behind a BOS.
fn batch(first_row: u64, n_contexts: u32) -> TokenBatch {
    let mut batch = TokenBatch::new(4, first_row);
    batch.documents.push(Document { name: "doc".into(), ..Document::default() });
    for k in 0..n_contexts {
        batch.push(vec![0, 5 + k, 6 + k], &[false, true, true], &[(0, 0)]);
    }
    batch
}

fn read(stored: &Stored, batch: &TokenBatch) -> Result<Vec<f32>> {
    let (read, _) = stored.read(batch, &batch.views[0], &[Hookpoint::ResidPost(1)])?;
    Ok(read[0].x.as_slice().to_vec())
}

#[test]
fn rows_are_found_whatever_files_they_lie_in_and_whoever_asks_first() {
    let folder = tempfile::tempdir().unwrap();
    let whole: Vec<Vec<u64>> = vec![vec![40], vec![1; 40], vec![0, 7, 0, 0, 1, 32, 0], vec![39, 1]];
    for lengths in whole {
        let own = folder.path().join(lengths.len().to_string());
        std::fs::create_dir(&own).unwrap();
        let stored = stored(&[shards(&own, &lengths)]);
        assert_eq!(stored.sizes().unwrap(), (lengths.len(), 40));
        // backwards, as by workers
        for first in (0..40u64).rev().step_by(3) {
            let n = ((40 - first) / 2).min(6) as u32;
            let expected: Vec<f32> = (first..first + 2 * u64::from(n)).flat_map(values).collect();
            assert_eq!(read(&stored, &batch(first, n)).unwrap(), expected, "{lengths:?} from {first}");
        }
    }
}

#[test]
fn rows_that_are_not_there_and_values_that_are_none_are_told_with_file_and_row() {
    let folder = tempfile::tempdir().unwrap();
    let pattern = shards(folder.path(), &[5, 3]);
    let told = |stored: &Stored, batch: &TokenBatch| {
        let error = read(stored, batch).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        error.to_string()
    };
    let said = told(&stored(std::slice::from_ref(&pattern)), &batch(6, 2));
    let words =
        ["2 files of resid_post.1 end with row 3 of", "01.safetensors", "hold 8 rows", "batch 4 goes to row 10"];
    words.iter().for_each(|word| assert!(said.contains(word), "no {word:?} in {said}"));
    let mut held: Vec<f32> = (5..8).flat_map(values).collect();
    held[4] = f32::NAN;
    let second = folder.path().join("01.safetensors");
    std::fs::write(&second, written(&[("x", vec![3, WIDTH], held)], &serde_json::json!({}))).unwrap();
    let said = told(&stored(&[pattern]), &batch(4, 2));
    let words = ["01.safetensors", "feature 1 in row 1", "row 6 of the corpus: document doc", "context 1, position 1"];
    words.iter().for_each(|word| assert!(said.contains(word), "no {word:?} in {said}"));
}

#[test]
fn files_that_make_no_sense_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pattern = shards(folder.path(), &[5, 3]);
    let first = folder.path().join("00.safetensors").display().to_string();
    let told = |stored: Stored, words: &[&str]| {
        let error = stored.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Request);
        let said = error.to_string();
        words.iter().for_each(|word| assert!(said.contains(word), "no {word:?} in {said}"));
    };
    told(stored(&[pattern.clone(), first.clone()]), &["models.a.files.\"resid_post.1\"", "00.safetensors twice, by"]);
    told(stored(&["no/*.safetensors".into()]), &["matches no file", "acts/*.safetensors"]);
    let place = |hookpoint, width, paths: &[&String]| StoredPlace {
        hookpoint,
        width,
        files: RowFiles { paths: paths.iter().map(|p| p.to_string()).collect(), tensor: None },
    };
    let [one, two] = [Hookpoint::ResidPost(1), Hookpoint::ResidPost(2)];
    told(Stored::new("a", vec![place(one, 4, &[&pattern])], Vec::new()), &["is 3 wide, resid_post.1 is 4 wide"]);
    let unlike = vec![place(one, WIDTH, &[&pattern]), place(two, WIDTH, &[&first])];
    told(Stored::new("a", unlike, Vec::new()), &["8 rows of resid_post.1 and 5 of resid_post.2"]);
}
