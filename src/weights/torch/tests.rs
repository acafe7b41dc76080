//! State dicts written by hand, opcode by opcode, and read back.

use super::*;
use crate::weights::Layout;

/// What a state dict holds under a name.
pub(crate) enum Item<'a> {
    /// Row-major f32.
    Tensor(&'a [usize], &'a [f32]),
    /// `[rows, cols]` given row-major, stored column-major.
    Turned([usize; 2], &'a [f32]),
    Text(&'a str),
    Number(i32),
    Dict(Vec<(&'a str, Item<'a>)>),
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn push_number(out: &mut Vec<u8>, n: usize) {
    out.push(b'J');
    out.extend((n as i32).to_le_bytes());
}

fn push_tensor(out: &mut Vec<u8>, key: &str, n: usize, shape: &[usize], strides: &[usize]) {
    out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    push_text(out, "storage");
    out.extend(b"ctorch\nFloatStorage\n");
    push_text(out, key);
    push_text(out, "cuda:0");
    push_number(out, n);
    out.extend(b"tQ");
    push_number(out, 0);
    for sizes in [shape, strides] {
        out.push(b'(');
        sizes.iter().for_each(|&size| push_number(out, size));
        out.push(b't');
    }
    out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
}

fn push_dict(out: &mut Vec<u8>, items: &[(&str, Item)], storages: &mut Vec<Vec<u8>>) {
    out.extend(b"}(");
    for (name, item) in items {
        push_text(out, name);
        match item {
            Item::Text(text) => push_text(out, text),
            Item::Number(n) => push_number(out, *n as usize),
            Item::Dict(items) => push_dict(out, items, storages),
            Item::Tensor(shape, values) => {
                let strides: Vec<usize> = (0..shape.len()).map(|i| shape[i + 1..].iter().product()).collect();
                push_tensor(out, &storages.len().to_string(), values.len(), shape, &strides);
                storages.push(values.iter().flat_map(|v| v.to_le_bytes()).collect());
            }
            Item::Turned([rows, cols], values) => {
                push_tensor(out, &storages.len().to_string(), values.len(), &[*rows, *cols], &[1, *rows]);
                let turned = (0..*cols).flat_map(|c| (0..*rows).map(move |r| values[r * cols + c]));
                storages.push(turned.flat_map(f32::to_le_bytes).collect());
            }
        }
    }
    out.push(b'u');
}

/// Writes `items` as torch.save does: a zip of stored members.
pub(crate) fn write_state_dict(path: &Path, items: &[(&str, Item)]) {
    let (mut pickle, mut storages) = (b"\x80\x02".to_vec(), Vec::new());
    push_dict(&mut pickle, items, &mut storages);
    pickle.push(b'.');
    let mut members = vec![("archive/data.pkl".to_string(), pickle), ("archive/byteorder".into(), b"little".to_vec())];
    members.extend(storages.into_iter().enumerate().map(|(k, bytes)| (format!("archive/data/{k}"), bytes)));
    std::fs::write(path, zip_of(&members)).unwrap();
}

/// A zip archive of stored members; checksums are left 0, as nothing here reads them.
fn zip_of(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in members {
        let sizes = [0, bytes.len() as u32, bytes.len() as u32].map(u32::to_le_bytes).concat();
        let names = [name.len() as u16, 0].map(u16::to_le_bytes).concat();
        let head = [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &sizes, &names].concat();
        directory.extend([b"PK\x01\x02\x14\0".as_slice(), &head, &[0; 10]].concat());
        directory.extend((out.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        out.extend([b"PK\x03\x04".as_slice(), &head, name.as_bytes(), bytes].concat());
    }
    let n = (members.len() as u16).to_le_bytes();
    let end = [(directory.len() as u32).to_le_bytes(), (out.len() as u32).to_le_bytes()].concat();
    [out, directory, b"PK\x05\x06\0\0\0\0".to_vec(), [n, n].concat(), end, vec![0, 0]].concat()
}

#[test]
fn tensors_texts_and_numbers_come_back_whatever_the_strides() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ae.pt");
    let values: Vec<f32> = (0..6).map(|v| v as f32).collect();
    let items = [
        ("a", Item::Tensor(&[2, 3], &values)),
        ("b", Item::Turned([2, 3], &values)),
        ("c", Item::Dict(vec![("k", Item::Number(32)), ("name", Item::Text("ReLU"))])),
    ];
    write_state_dict(&path, &items);
    let dict = state_dict(&path).unwrap();
    assert_eq!((dict.numbers["c.k"], dict.texts["c.name"].as_str()), (32.0, "ReLU"));
    for name in ["a", "b"] {
        assert_eq!(dict.tensors.matrix(name, 2, 3, Layout::AsIs).unwrap().as_slice(), values);
        let turned = dict.tensors.matrix(name, 3, 2, Layout::Transposed).unwrap();
        assert_eq!(turned.as_slice(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert!(dict.tensors.matrix(name, 3, 2, Layout::AsIs).is_err());
    }
}

#[test]
fn a_view_past_its_storage_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ae.pt");
    write_state_dict(&path, &[("a", Item::Tensor(&[1000, 1000], &[1.0, 2.0]))]);
    let told = state_dict(&path).unwrap_err().to_string();
    assert!(told.contains("tensor \"a\" of shape [1000, 1000] does not fit its storage of 8 bytes"), "{told}");
}

#[test]
fn containers_inside_themselves_end() {
    // A dict that holds itself, 100 levels by reference.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ae.pt");
    let pickle = b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.".to_vec();
    std::fs::write(&path, zip_of(&[("x/data.pkl".to_string(), pickle)])).unwrap();
    let told = state_dict(&path).unwrap_err().to_string();
    assert!(told.contains("depth"), "{told}");
}
