//! How texts are laid out for people.

use crate::matching::HOLDS_WITHIN;

/// Width of a summary's lines.
pub const WIDTH: usize = 100;

/// Text in lines of at most `width` characters, broken at spaces; lines but the first begin with `indent` spaces. A word that is longer
/// has a line of its own.
pub fn wrapped(text: &str, indent: usize, width: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    for (k, word) in text.split(' ').enumerate() {
        let n = word.chars().count();
        if k > 0 && length + 1 + n > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            length = indent;
        } else if k > 0 {
            out.push(' ');
            length += 1;
        }
        out.push_str(word);
        length += n;
    }
    out
}

/// What the column of matches that hold given a key counts.
pub fn given_in_words(key: &str) -> String {
    format!(
        "given-{key}: mutual matches that still have r >= {HOLDS_WITHIN} when only rows of one {key} are compared, of those that fire on \
         enough such rows"
    )
}

/// A token as it is printed between quotes: control characters spelt out, long ones cut.
pub fn shown_token(token: &str) -> String {
    let spelt: String =
        token.chars().flat_map(|c| if c == '\'' { vec![c] } else { c.escape_debug().collect() }).collect();
    let mut out: String = spelt.chars().take(24).collect();
    if spelt.chars().count() > 24 {
        out.push('…');
    }
    format!("\"{out}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_lines_fit() {
        assert_eq!(shown_token(" a\n"), "\" a\\n\"");
        assert_eq!(wrapped("ab cd e", 2, 5), "ab cd\n  e");
        assert_eq!(wrapped("head  abc abcdefgh x", 1, 9), "head  abc\n abcdefgh\n x", "spaces inside stay");
        assert_eq!(wrapped("", 2, 5), "");
    }
}
