//! How figures are written for people.

/// `1 234 567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

/// `1.50 GiB`, three digits.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match value {
        _ if unit == 0 => format!("{bytes} B"),
        v if v < 10.0 => format!("{v:.2} {}", UNITS[unit]),
        v if v < 100.0 => format!("{v:.1} {}", UNITS[unit]),
        v => format!("{v:.0} {}", UNITS[unit]),
    }
}

/// `3 h 12 min`, `4 min 10 s`, `12 s`.
pub fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        3600..172_800 => format!("{} h {:02} min", s / 3600, s / 60 % 60),
        _ => format!("{} days {} h", s / 86_400, s / 3600 % 24),
    }
}

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
    fn figures_read_as_people_write_them() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1 234 567");
        assert_eq!(human_bytes(3 << 29), "1.50 GiB");
        assert_eq!(human_bytes(999), "999 B");
        assert_eq!(human_bytes(8 << 30), "8.00 GiB");
        assert_eq!(duration(11.6), "12 s");
        assert_eq!(duration(250.0), "4 min 10 s");
        assert_eq!(duration(11_520.0), "3 h 12 min");
        assert_eq!(shown_token(" a\n"), "\" a\\n\"");
        assert_eq!(wrapped("ab cd e", 2, 5), "ab cd\n  e");
        assert_eq!(wrapped("head  abc abcdefgh x", 1, 9), "head  abc\n abcdefgh\n x", "spaces inside stay");
        assert_eq!(wrapped("", 2, 5), "");
    }
}
