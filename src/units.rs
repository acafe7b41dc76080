//! How are bytes, counts and times written, and how are they read?

use crate::error::{Error, Result};

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

/// Reads `512MiB`, `16G`, `2_000_000` …: K, M, G, T are powers of 1024, with or without `i` and `B`; `KB` … `TB` too.
///
/// # Errors
/// `Request` when it is none of these.
pub fn parse_bytes(text: &str) -> Result<u64> {
    let clean: String = text.chars().filter(|c| *c != '_' && !c.is_whitespace()).collect();
    let split = clean.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(clean.len());
    let (number, unit) = clean.split_at(split);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => u32::MAX,
    };
    match number.parse::<f64>() {
        Ok(n) if shift != u32::MAX && n.is_finite() && n >= 0.0 => Ok((n * (1u64 << shift) as f64) as u64),
        _ => Err(Error::request(format!("{text:?} is not a size; write for example 512MiB, 16GiB or 2000000"))),
    }
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
        // what is written is read back
        for bytes in [0, 3 << 29, 8 << 30, 1 << 40] {
            assert_eq!(parse_bytes(&human_bytes(bytes)).unwrap(), bytes);
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [("0", 0), ("1k", 1024), ("1.5 GiB", 3 << 29), ("16G", 16 << 30), ("2_000_000", 2_000_000)]
        {
            assert_eq!(parse_bytes(text).unwrap(), bytes, "{text}");
        }
        for bad in ["", "x", "12q", "-1", "1e400", "GiB"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }
}
