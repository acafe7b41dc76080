//! Where is a dataflow file, and where does a path in it point?

use crate::disk;
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
        false => disk::read_to_string(path),
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

/// Refuses a path (of the file at `file`, with its key) to something that is in the file's folder and not in the
/// working directory: it was meant to be relative to the file, and is not.
///
/// # Errors
/// `Request` with the path as it should be.
pub(super) fn check_beside(paths: &[(String, &str)], file: &Path) -> Result<()> {
    let home = file.parent().unwrap_or(Path::new(""));
    // a fed model has no path
    let is_beside = |path: &str| !path.is_empty() && !disk::exists(Path::new(path)) && disk::exists(&home.join(path));
    match paths.iter().find(|(_, path)| Path::new(path).is_relative() && is_beside(path)) {
        Some((key, path)) => Err(Error::request(format!(
            "{}: {key} is {path:?}, which is not in the working directory but beside the dataflow file; write \"./{path}\", which is \
             relative to the file",
            titled(file)
        ))),
        None => Ok(()),
    }
}

/// Paths are relative to the working directory; one that begins with `./` or `../` is relative to the dataflow file.
pub fn resolve(path: &str, home: &Path) -> String {
    if (path.starts_with("./") || path.starts_with("../")) && !home.as_os_str().is_empty() {
        return home.join(path.strip_prefix("./").unwrap_or(path)).to_string_lossy().into_owned();
    }
    path.to_string()
}
