//! What some writers put into JSON that is not JSON: `NaN` and `Infinity` (Python), and half of a surrogate pair alone
//! in a text (JavaScript, Python). A line that cannot be parsed is looked through for these once, and parsed again
//! without them.

/// What was put in place of what is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mended {
    /// The line: `NaN`, `Infinity` and `-Infinity` as `null`, lone halves of surrogate pairs as U+FFFD.
    pub(super) line: String,
    /// Numbers that became null.
    pub(super) numbers: u64,
    /// Halves of surrogate pairs that were replaced, one U+FFFD each.
    pub(super) surrogates: u64,
}

/// The numbers that Python's `json` and pandas write for what is no number.
const NUMBERS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];
/// U+FFFD, as JSON writes it.
const REPLACEMENT: &str = "\\ufffd";

/// The line without them; `None` where it holds none.
pub(super) fn mended(line: &str) -> Option<Mended> {
    let bytes = line.as_bytes();
    let mut out = Mended { line: String::with_capacity(line.len()), numbers: 0, surrogates: 0 };
    // bytes of the line that are in `out`
    let (mut kept, mut at, mut in_text) = (0, 0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => (in_text, at) = (!in_text, at + 1),
            b'\\' if in_text => match escaped_unit(bytes, at) {
                None => at += 2,
                Some(0xD800..=0xDBFF) if matches!(escaped_unit(bytes, at + 6), Some(0xDC00..=0xDFFF)) => at += 12,
                Some(0xD800..=0xDFFF) => {
                    out.line.push_str(&line[kept..at]);
                    out.line.push_str(REPLACEMENT);
                    out.surrogates += 1;
                    at += 6;
                    kept = at;
                }
                Some(_) => at += 6,
            },
            b'N' | b'I' | b'-' if !in_text => match NUMBERS.iter().find(|n| line[at..].starts_with(**n)) {
                Some(number) => {
                    out.line.push_str(&line[kept..at]);
                    out.line.push_str("null");
                    out.numbers += 1;
                    at += number.len();
                    kept = at;
                }
                None => at += 1,
            },
            _ => at += 1,
        }
    }
    if kept == 0 {
        return None;
    }
    out.line.push_str(&line[kept..]);
    Some(out)
}

/// The UTF-16 unit of an escape `\uXXXX` at `at`.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lone_surrogates_are_replaced_and_nothing_else() {
        let of = |line: &str| mended(line).map(|m| (m.line, m.numbers, m.surrogates));
        let some = |line: &str, n, s| Some((line.to_string(), n, s));
        assert_eq!(of(r#"{"a": NaN, "b": [-Infinity, Infinity]}"#), some(r#"{"a": null, "b": [null, null]}"#, 3, 0));
        assert_eq!(of(r#"{"a": "\ud800x\uDC00"}"#), some(r#"{"a": "\ufffdx\ufffd"}"#, 0, 2));
        // a whole pair, an escaped backslash before u, words in texts and keys
        for whole in
            [r#"{"a": "\ud83d\ude00 \\ud800 NaN"}"#, r#"{"NaN": 1, "b": "-Infinity\"NaN"}"#, r#"{"n": -1}"#, ""]
        {
            assert_eq!(of(whole), None, "{whole}");
        }
        assert_eq!(of(r#"{"a": "\ud83d\ud83d\ude00"}"#), some(r#"{"a": "\ufffd\ud83d\ude00"}"#, 0, 1));
        // what is cut off stays as it is, for the parser to name
        assert_eq!(of("{\"a\": \"\\ud8"), None);
        assert_eq!(of("{\"a\": Na"), None);
    }
}
