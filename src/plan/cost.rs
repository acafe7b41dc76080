//! What is held, in bytes.

use crate::error::{Error, Result};

/// One thing that takes memory or disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// What it is.
    pub what: String,
    /// Bytes of memory at most.
    pub memory_bytes: u64,
    /// Bytes on disk per checkpoint at most; two checkpoints are kept.
    pub disk_bytes: u64,
    /// Whether it is needed only while batches stream, not for what is published from sums.
    pub only_streaming: bool,
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
