//! Is a file what its name promises, or Git LFS's pointer to it? A clone without LFS holds such pointers.

use crate::error::{Error, Result};
use std::path::Path;

/// How every pointer begins (Git LFS specification, version 1).
const BEGINNING: &[u8] = b"version https://git-lfs.github.com/spec/v1";
/// Longest pointer, by its specification; most have some 130 bytes.
pub const POINTER_BYTES: usize = 1024;

/// Refuses a Git LFS pointer, given the first [`POINTER_BYTES`] bytes of a file, or all bytes of a shorter one.
///
/// # Errors
/// `Input`, naming the file, when it is one.
pub fn refuse_pointer(path: &Path, head: &[u8]) -> Result<()> {
    if !head.starts_with(BEGINNING) {
        return Ok(());
    }
    let text = String::from_utf8_lossy(head);
    let size = text.lines().find_map(|line| line.strip_prefix("size ")?.trim().parse::<u64>().ok());
    let size = size.map_or(String::new(), |size| format!(" of {size} bytes"));
    Err(Error::input(format!(
        "{} is a Git LFS pointer to a file{size}, not the file itself; run git lfs pull in its repository, or download the file",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_named_with_what_it_points_to() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12345\n";
        let told = refuse_pointer(Path::new("m/model.safetensors"), pointer).unwrap_err().to_string();
        assert!(told.contains("m/model.safetensors") && told.contains("12345 bytes") && told.contains("git lfs pull"));
        for other in [b"".as_slice(), b"version 2", &pointer[1..]] {
            assert!(refuse_pointer(Path::new("x"), other).is_ok());
        }
    }
}
