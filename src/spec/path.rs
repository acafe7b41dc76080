//! Where a path of a dataflow file points.

use std::path::Path;

/// Paths are relative to the working directory; one that begins with `./` or `../` is relative to the dataflow file.
pub fn resolve(path: &str, home: &Path) -> String {
    if (path.starts_with("./") || path.starts_with("../")) && !home.as_os_str().is_empty() {
        return home.join(path.strip_prefix("./").unwrap_or(path)).to_string_lossy().into_owned();
    }
    path.to_string()
}
