//! Which files are one? Large GGUF files are split into `NAME-00001-of-00003.gguf` and so on, each named by its number.

/// Names of all parts of a split GGUF file, in order, from the name of one part; `None` when the name is not of that form.
pub fn split_names(name: &str) -> Option<Vec<String>> {
    let stem = name.strip_suffix(".gguf")?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let [number, n] = [number, count].map(|digits| {
        let plain = digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u32>().ok().filter(|_| plain)
    });
    let (number, n) = (number?, n?);
    (1..=n).contains(&number).then(|| (1..=n).map(|i| format!("{stem}-{i:05}-of-{count}.gguf")).collect())
}

#[cfg(test)]
mod tests {
    use super::split_names;

    #[test]
    fn any_part_names_them_all() {
        let all = ["a/q-00001-of-00003.gguf", "a/q-00002-of-00003.gguf", "a/q-00003-of-00003.gguf"];
        for name in all {
            assert_eq!(split_names(name).unwrap(), all);
        }
        for other in
            ["q.gguf", "q-1-of-3.gguf", "q-00004-of-00003.gguf", "q-00000-of-00003.gguf", "q-00001-of-00003.bin"]
        {
            assert_eq!(split_names(other), None, "{other}");
        }
    }
}
