use super::{exists, is_dir, names_in};
use std::path::{Component, Path, PathBuf};

/// Most names of a folder that are listed.
const LISTED: usize = 12;

/// For the message about a missing path, in brackets: the path with the nearest name in place of its first missing one,
/// or the names that are there. Empty where there is neither. A name is near when a few letters are other, missing,
/// doubled or swapped, or in other case. Where several are equally near, none is preferred and the names that are there
/// are listed.
pub fn instead_of(path: &Path) -> String {
    let mut there = PathBuf::new();
    let mut parts = path.components();
    for part in &mut parts {
        if exists(&there.join(part)) {
            there.push(part);
            continue;
        }
        let Component::Normal(name) = part else { return String::new() };
        let folder = if there.as_os_str().is_empty() { Path::new(".") } else { &there };
        let Some(name) = name.to_str().filter(|_| is_dir(folder)) else { return String::new() };
        let names: Vec<String> = names_in(folder)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .filter(|other| !other.starts_with('.'))
            .collect();
        let far = |other: &String| strsim::osa_distance(&name.to_lowercase(), &other.to_lowercase());
        let least = names.iter().map(far).min().filter(|least| *least <= 1 + name.chars().count() / 6);
        let nearest: Vec<&String> = names.iter().filter(|other| Some(far(other)) == least).collect();
        if let [other] = nearest[..] {
            let meant = there.join(other);
            // what is left is empty for the last part, and a join with nothing would end in a slash
            let whole: PathBuf = meant.components().chain(parts).collect();
            let said = if exists(&whole) { whole } else { meant };
            return format!(" (did you mean {}?)", said.display());
        }
        // of the folder itself, not of one that is far above
        let is_last = parts.as_path().as_os_str().is_empty();
        if !is_last || names.is_empty() || there.as_os_str().is_empty() {
            return String::new();
        }
        let more = if names.len() > LISTED { format!(" and {} more", names.len() - LISTED) } else { String::new() };
        let listed = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
        return format!(" ({} holds {listed}{more})", there.display());
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_said_or_the_names_that_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for folder in ["models/small-a", "models/small-b", "saes/small-b/layers.1", "saes/small-b/layers.3", "many"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        std::fs::write(root.join("Corpus.jsonl"), b"").unwrap();
        (10..24).for_each(|k| std::fs::write(root.join(format!("many/{k}")), b"").unwrap());
        let said = |path: &str| instead_of(&root.join(path)).replace(&format!("{}/", root.display()), "");
        for (path, expected) in [
            ("models/small-bb", " (did you mean models/small-b?)"),
            ("models/small-z", " (models holds small-a, small-b)"),
            ("saes/small-b/layers.9", " (saes/small-b holds layers.1, layers.3)"),
            ("modles/small-b", " (did you mean models/small-b?)"),
            ("corpus.json", " (did you mean Corpus.jsonl?)"),
            ("modles/nowhere", " (did you mean models?)"),
            ("saes/small-b/blocks.3", " (saes/small-b holds layers.1, layers.3)"),
            ("elsewhere/small-b", ""),
            ("models/small-a/x", ""),
            ("models/small-a", ""),
            ("many/x", " (many holds 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21 and 2 more)"),
        ] {
            assert_eq!(said(path), expected, "{path}");
        }
    }
}
