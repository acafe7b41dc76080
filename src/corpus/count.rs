//! Numbers of tokens as people write them: `50_000`, `1e6`, `50k`, `2M`.

use crate::error::{Error, Result};
use serde::de::{self, Deserializer, Visitor};
use std::fmt;

/// Reads a whole number: digits with `_` between them, a decimal point, an exponent, and k, M, G or T for powers of 1000.
///
/// # Errors
/// `Request` when it is none, or no whole number that 64 bits hold.
pub fn parse_count(text: &str) -> Result<u64> {
    // a line between two digits, as in TOML
    let c: Vec<char> = text.trim().chars().collect();
    let is_digit = |k: Option<usize>| k.and_then(|k| c.get(k)).is_some_and(char::is_ascii_digit);
    let between = |k: usize| c[k] == '_' && is_digit(k.checked_sub(1)) && is_digit(Some(k + 1));
    let clean: String = (0..c.len()).filter(|&k| !between(k)).map(|k| c[k]).collect();
    let split = clean.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(clean.len());
    let (digits, unit) = clean.split_at(split);
    let power = match unit {
        "" => Some(0),
        "k" | "K" => Some(3),
        "m" | "M" => Some(6),
        "g" | "G" | "b" | "B" => Some(9),
        "t" | "T" => Some(12),
        exponent => {
            exponent.strip_prefix(['e', 'E']).and_then(|e| e.strip_prefix('+').unwrap_or(e).parse::<u32>().ok())
        }
    };
    let count = power.and_then(|power| scaled(digits, power));
    count.ok_or_else(|| {
        Error::request(format!("{text:?} is no whole number; write for example 50000, 50_000, 50k, 2M or 1e6"))
    })
}

/// `digits` × 10^`power`, if that is whole and fits.
fn scaled(digits: &str, power: u32) -> Option<u64> {
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let part = part.trim_end_matches('0');
    let power = power.checked_sub(u32::try_from(part.len()).ok()?)?;
    let all: u64 = format!("{whole}{part}").parse().ok()?;
    if all == 0 { Some(0) } else { all.checked_mul(10u64.checked_pow(power)?) }
}

/// A number of a dataflow file: an integer, a whole `1e6`, or a text that [`parse_count`] reads.
///
/// # Errors
/// Those of the format, and what [`parse_count`] refuses.
pub fn deserialize_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Count;
    impl Visitor<'_> for Count {
        type Value = u64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number such as 50_000, 1e6 or \"50k\"")
        }
        fn visit_u64<E>(self, value: u64) -> Result<u64, E> {
            Ok(value)
        }
        fn visit_i64<E: de::Error>(self, value: i64) -> Result<u64, E> {
            u64::try_from(value).map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
        }
        fn visit_f64<E: de::Error>(self, value: f64) -> Result<u64, E> {
            // whole numbers up to 2^53 are exact as floats
            let is_whole = value.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&value);
            if is_whole { Ok(value as u64) } else { Err(E::invalid_value(de::Unexpected::Float(value), &self)) }
        }
        fn visit_str<E: de::Error>(self, value: &str) -> Result<u64, E> {
            parse_count(value).map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_as_people_write_them() {
        for (text, count) in [
            ("0", 0),
            ("50_000", 50_000),
            ("50k", 50_000),
            ("1e6", 1_000_000),
            ("2.5E+3", 2_500),
            ("2M", 2_000_000),
            ("1.5G", 1_500_000_000),
            ("3B", 3_000_000_000),
            ("1T", 1_000_000_000_000),
            ("18446744073709551615", u64::MAX),
            (" 7 ", 7),
            ("0e300", 0),
        ] {
            assert_eq!(parse_count(text).unwrap(), count, "{text}");
        }
        for bad in [
            "", "k", "1.5", "-1", "1e-3", "1e20", "1.0001k", "NaN", "1 000", "5kB", "1.2.3", "0x10", ".", "50_", "_50",
            "1__0", "1_.5M",
        ] {
            let error = parse_count(bad).unwrap_err().to_string();
            assert!(error.contains(&format!("{bad:?}")) && error.contains("50k"), "{error}");
        }
    }
}
