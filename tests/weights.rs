//! Containers of weights, each written byte by byte: what is in them comes back, and each thing that may be wrong in them is named.

use cognate::error::ErrorKind;
use cognate::weights::{Layout, Tensors, npz, safetensors, torch};
use std::path::{Path, PathBuf};

/// A member of a zip archive, as its directory describes it.
struct Member<'a> {
    name: &'a str,
    bytes: &'a [u8],
    /// General purpose flags; bit 0: encrypted.
    flags: u16,
    /// 0: stored, 8: deflated.
    method: u16,
    /// Bytes that it claims to unpack to.
    size: u64,
    /// Whether its sizes stand in a zip64 field.
    wide: bool,
}

fn stored<'a>(name: &'a str, bytes: &'a [u8]) -> Member<'a> {
    Member { name, bytes, flags: 0, method: 0, size: bytes.len() as u64, wide: false }
}

/// An archive by APPNOTE 4.3.7 to 4.3.16; checksums are left 0, as nothing here reads them.
fn zip(members: &[Member]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for m in members {
        let (packed, offset) = (m.bytes.len() as u64, out.len() as u32);
        let short = |n: u64| if m.wide { u32::MAX } else { n as u32 };
        let sizes = [0, short(packed), short(m.size)].map(u32::to_le_bytes).concat();
        let extra = match m.wide {
            true => [&[1, 0, 16, 0][..], &m.size.to_le_bytes(), &packed.to_le_bytes()].concat(),
            false => Vec::new(),
        };
        let names = [m.name.len() as u16, extra.len() as u16].map(u16::to_le_bytes).concat();
        let head = [[20, m.flags, m.method, 0, 0].map(u16::to_le_bytes).concat(), sizes, names].concat();
        directory.extend([b"PK\x01\x02\x14\0".as_slice(), &head, &[0; 10], &offset.to_le_bytes()].concat());
        directory.extend([m.name.as_bytes(), &extra].concat());
        out.extend([b"PK\x03\x04".as_slice(), &head, m.name.as_bytes(), &extra, m.bytes].concat());
    }
    let n = (members.len() as u16).to_le_bytes();
    let end = [(directory.len() as u32).to_le_bytes(), (out.len() as u32).to_le_bytes()].concat();
    [out, directory, b"PK\x05\x06\0\0\0\0".to_vec(), [n, n].concat(), end, vec![0, 0]].concat()
}

fn written(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The refusal must be one of the input, name the file and say all of `words`.
fn refused<T>(found: Result<T, cognate::error::Error>, path: &Path, words: &[&str]) {
    let Err(error) = found else { panic!("{words:?} was let through") };
    let said = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Input, "{said}");
    assert!(said.contains(path.to_str().unwrap()) && words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
}

/// An array of f32 in numpy's own format.
fn npy(shape: &str, fortran: bool, values: &[f32]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let header = format!("{{'descr': '<f4', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

#[test]
fn arrays_of_either_order_and_of_zip64_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (rows, columns) = ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    let (c, fortran) = (npy("(2, 3)", false, &rows), npy("(2, 3)", true, &columns));
    let wide = Member { wide: true, ..stored("wide.npy", &c) };
    let path = written(&folder, "a.npz", &zip(&[stored("c.npy", &c), stored("f.npy", &fortran), wide]));
    let tensors = npz::tensors(&path).unwrap();
    for name in ["c", "f", "wide"] {
        assert_eq!(tensors.matrix(name, 2, 3, Layout::AsIs).unwrap().as_slice(), rows, "{name}");
        assert_eq!(tensors.matrix(name, 3, 2, Layout::Transposed).unwrap().as_slice(), columns, "{name}");
    }
}

#[test]
fn what_is_wrong_in_an_archive_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let array = npy("(2, 3)", false, &[0.0; 6]);
    let read = |member: Member, words: &[&str]| {
        let path = written(&folder, "a.npz", &zip(&[member]));
        refused(npz::tensors(&path), &path, words);
    };
    let good = || stored("a.npy", &array);
    read(Member { flags: 1, ..good() }, &["\"a.npy\"", "encrypted"]);
    read(Member { method: 12, ..good() }, &["\"a.npy\"", "method 12"]);
    read(Member { method: 8, size: 1 << 40, wide: true, ..good() }, &["\"a.npy\" claims 1099511627776 bytes"]);
    read(Member { size: 1 << 10, ..good() }, &["\"a.npy\" claims 1024 bytes"]);
    let short = npy("(2, 4)", false, &[0.0; 6]);
    read(stored("a.npy", &short), &["\"a\"", "shape [2, 4] does not fit its"]);
    read(stored("a.npy", b"no array, whatever its name"), &["\"a\"", "is no .npy file"]);

    let whole = zip(&[good()]);
    let moved = [&[b'x'][..], &whole[1..]].concat();
    let path = written(&folder, "moved.npz", &moved);
    refused(npz::tensors(&path), &path, &["\"a.npy\" is not where the zip directory declares it"]);
    let path = written(&folder, "cut.npz", &whole[..whole.len() / 2]);
    refused(npz::tensors(&path), &path, &["zip archive"]);
    // a directory of 17 MiB
    let mut long = whole.clone();
    let end = long.len() - 22;
    long[end + 12..end + 16].copy_from_slice(&(17u32 << 20).to_le_bytes());
    let path = written(&folder, "long.npz", &long);
    refused(npz::tensors(&path), &path, &["the zip directory is too long"]);
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend([b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat());
}

fn push_sizes(out: &mut Vec<u8>, sizes: &[usize]) {
    out.push(b'(');
    sizes.iter().for_each(|n| out.extend([b"J".as_slice(), &(*n as i32).to_le_bytes()].concat()));
    out.push(b't');
}

/// A pickled state dict with one tensor `a`, a view of a storage of eight floats, `depth` dicts down.
fn pickle(offset: usize, shape: &[usize], strides: &[usize], depth: usize) -> Vec<u8> {
    let mut out = b"\x80\x02".to_vec();
    for _ in 1..depth {
        out.push(b'}');
        push_text(&mut out, "d");
    }
    out.push(b'}');
    push_text(&mut out, "a");
    out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    push_text(&mut out, "storage");
    out.extend(b"ctorch\nFloatStorage\n");
    ["0", "cpu"].iter().for_each(|text| push_text(&mut out, text));
    out.extend(b"J\x08\0\0\0tQ");
    out.extend([b"J".as_slice(), &(offset as i32).to_le_bytes()].concat());
    push_sizes(&mut out, shape);
    push_sizes(&mut out, strides);
    out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    out.extend(vec![b's'; depth]);
    out.push(b'.');
    out
}

fn state_dict(folder: &tempfile::TempDir, pickle: &[u8], order: &str) -> PathBuf {
    let floats: Vec<u8> = (0..8).flat_map(|v| (v as f32).to_le_bytes()).collect();
    let members = [stored("x/data.pkl", pickle), stored("x/byteorder", order.as_bytes()), stored("x/data/0", &floats)];
    written(folder, "a.pt", &zip(&members))
}

#[test]
fn views_of_a_storage_are_read_where_they_lie_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let read = |pickle: &[u8]| torch::state_dict(&state_dict(&folder, pickle, "little")).unwrap().tensors;
    let matrix = |tensors: &Tensors| tensors.matrix("a", 2, 3, Layout::AsIs).unwrap().as_slice().to_vec();
    assert_eq!(matrix(&read(&pickle(0, &[2, 3], &[3, 1], 1))), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(matrix(&read(&pickle(2, &[2, 3], &[3, 1], 1))), [2.0, 3.0, 4.0, 5.0, 6.0, 7.0], "behind two others");
    assert_eq!(matrix(&read(&pickle(0, &[2, 3], &[1, 2], 1))), [0.0, 2.0, 4.0, 1.0, 3.0, 5.0], "turned");
    let gaps = read(&pickle(0, &[2, 3], &[4, 1], 1));
    let error = gaps.matrix("a", 2, 3, Layout::AsIs).unwrap_err().to_string();
    assert!(error.contains("\"a\"") && error.contains("a view with gaps"), "{error}");
    let past = state_dict(&folder, &pickle(3, &[2, 3], &[3, 1], 1), "little");
    refused(torch::state_dict(&past), &past, &["tensor \"a\" of shape [2, 3] does not fit its storage of 32 bytes"]);

    assert!(read(&pickle(0, &[2, 3], &[3, 1], 3)).has("d.d.a"));
    let deep = state_dict(&folder, &pickle(0, &[2, 3], &[3, 1], 9), "little");
    refused(torch::state_dict(&deep), &deep, &["depth"]);
    let other = state_dict(&folder, &pickle(0, &[2, 3], &[3, 1], 1), "big");
    refused(torch::state_dict(&other), &other, &["big-endian"]);
}

#[test]
fn numbers_that_are_none_are_named_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = |values: &[f32]| {
        let header = format!(
            "{{\"t\":{{\"dtype\":\"F32\",\"shape\":[{0}],\"data_offsets\":[0,{1}]}}}}",
            values.len(),
            4 * values.len()
        );
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
        written(&folder, "t.safetensors", &bytes)
    };
    let path = file(&[1.0, f32::INFINITY, 3.0]);
    let tensors = safetensors::tensors(&path).unwrap();
    refused(tensors.vector("t", 3), &path, &["\"t\"", "holds inf at element 1"]);
    // a threshold that no pre-activation reaches
    assert_eq!(tensors.thresholds("t", 3).unwrap(), [1.0, f32::INFINITY, 3.0]);
    let path = file(&[1.0, 2.0, f32::NAN]);
    let tensors = safetensors::tensors(&path).unwrap();
    refused(tensors.vector("t", 3), &path, &["\"t\"", "holds NaN at element 2"]);
    refused(tensors.thresholds("t", 3), &path, &["\"t\"", "holds NaN"]);
    refused(tensors.vector("t", 4), &path, &["\"t\"", "has shape [3], expected [4]"]);

    let claims = written(&folder, "c.safetensors", &[&(50u64 << 20).to_le_bytes()[..], b"{}"].concat());
    refused(safetensors::tensors(&claims), &claims, &["its header claims 52428800 bytes"]);
}
