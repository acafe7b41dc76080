//! Block formats bit by bit against the reference implementation, and damaged files.

use super::file::{GgufFile, header};
use crate::error::ErrorKind;
use safetensors::tensor::SafeTensors;
use std::path::Path;

const ALL_TYPES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gguf/dequant_all_types.gguf");

#[test]
fn every_block_format_is_bit_equal_to_the_reference() {
    let file = GgufFile::open(Path::new(ALL_TYPES)).unwrap();
    let bytes = std::fs::read(ALL_TYPES.replace(".gguf", ".reference.safetensors")).unwrap();
    let reference = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensors.len(), 15);
    for (name, tensor) in &file.tensors {
        let want = reference.tensor(name).unwrap();
        assert_eq!(want.shape(), tensor.shape);
        let want: Vec<u32> = want.data().as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        let mut got = vec![0.0; want.len()];
        file.read(tensor, 0, &mut got);
        let bits: Vec<u32> = got.iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits.iter().zip(&want).position(|(a, b)| a != b), None, "{name}");
        // Any stretch of it, whole blocks or not.
        for (first, n) in [(0, 1), (31, 2), (255, 3), (300, 700), (1535, 1)] {
            let mut part = vec![0.0; n];
            file.read(tensor, first, &mut part);
            assert_eq!(part, got[first..first + n], "{name} from {first}");
        }
    }
}

#[test]
fn files_cut_anywhere_or_with_wild_counts_are_refused() {
    let whole = std::fs::read(ALL_TYPES).unwrap();
    // The last tensor is followed by up to 31 bytes of padding.
    for n in (0..whole.len() - 32).step_by(11) {
        let error = header(&whole[..n]).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input, "{n} bytes: {error}");
    }
    // Number of tensors, number of values, length of the first key.
    for at in [8, 16, 24] {
        let mut bytes = whole.clone();
        bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(header(&bytes).map(|_| ()).unwrap_err().kind(), ErrorKind::Input);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.gguf");
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = GgufFile::open(&path).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("cut.gguf") && error.to_string().contains("cut short"), "{error}");
}

#[test]
fn a_flipped_bit_of_the_header_never_panics_and_no_tensor_leaves_the_file() {
    let mut bytes = std::fs::read(ALL_TYPES).unwrap();
    let (mut n_read, mut n_refused) = (0, 0);
    for at in 0..1200 {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            if let Ok((_, tensors)) = header(&bytes) {
                assert!(tensors.values().all(|tensor| tensor.place().end <= bytes.len()));
                n_read += tensors.len();
            } else {
                n_refused += 1;
            }
            bytes[at] ^= 1 << bit;
        }
    }
    assert!(n_read > 1_000 && n_refused > 1_000, "{n_read} tensors read, {n_refused} headers refused");
}
