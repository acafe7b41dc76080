//! How is a damaged JSON file recognised? It opens with a seal: the blake3 of every byte after the seal's own line.
//!
//! A file that was cut short, edited or struck by a flipped bit is recognised before any of its numbers is
//! believed.

use serde::{Deserialize, Serialize};

const SEAL_OPEN: &str = "{\n  \"seal\": \"";
const SEAL_CLOSE: &str = "\",\n";
const SEAL_DIGITS: usize = 64;

/// The sealed JSON text of a struct with at least one field.
pub(super) fn sealed(value: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_string_pretty(value).expect("what is sealed is JSON: its maps have string keys");
    let body = json.strip_prefix("{\n").expect("a pretty-printed object opens with a line of its own");
    let seal = blake3::hash(body.as_bytes()).to_hex();
    format!("{SEAL_OPEN}{seal}{SEAL_CLOSE}{body}").into_bytes()
}

/// The JSON text without its seal, when the seal fits it.
pub(super) fn unsealed(bytes: &[u8]) -> Option<Vec<u8>> {
    let rest = bytes.strip_prefix(SEAL_OPEN.as_bytes())?;
    let (seal, rest) = rest.split_at_checked(SEAL_DIGITS)?;
    let body = rest.strip_prefix(SEAL_CLOSE.as_bytes())?;
    (blake3::hash(body).to_hex().as_bytes() == seal).then(|| [b"{\n", body].concat())
}

/// Whether the text opens as a sealed one.
pub(super) fn looks_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(SEAL_OPEN.as_bytes())
}

/// The number that a JSON text names as its format.
pub(super) fn format_of(json: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Probe {
        format: u64,
    }
    serde_json::from_slice::<Probe>(json).ok().map(|p| p.format)
}
