//! Where is a dataflow file, and where does a path in it point?

use crate::error::{Error, Result};
use std::path::Path;

/// The path that stands for standard input. As a file it has no folder, so every path in it is relative to the working directory.
const STANDARD_INPUT: &str = "-";

/// The text of the dataflow file at `path`, or of standard input where it is `-`.
///
/// # Errors
/// As [`Error::io`]: `Request` where there is no such file.
pub(super) fn text_of(path: &Path) -> Result<String> {
    let text = match path == Path::new(STANDARD_INPUT) {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(path),
    };
    text.map_err(|e| match path == Path::new(STANDARD_INPUT) {
        true => Error::input(format!("cannot read the dataflow file on standard input: {e}")),
        false => Error::io("cannot read the dataflow file", path, &e),
    })
}

/// What messages call the dataflow file at `path`.
pub(super) fn titled(path: &Path) -> String {
    match path == Path::new(STANDARD_INPUT) {
        true => "dataflow file on standard input".to_string(),
        false => format!("dataflow file {}", path.display()),
    }
}

/// Paths are relative to the working directory; one that begins with `./` or `../` is relative to the dataflow file.
pub fn resolve(path: &str, home: &Path) -> String {
    if (path.starts_with("./") || path.starts_with("../")) && !home.as_os_str().is_empty() {
        return home.join(path.strip_prefix("./").unwrap_or(path)).to_string_lossy().into_owned();
    }
    path.to_string()
}
