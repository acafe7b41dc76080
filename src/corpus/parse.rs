//! What does a record say? From what a reader read to a document's opening and its ids, apart from all other records.
//!
//! Everything here is a pure function of one record, so records are parsed and tokenized in parallel.

use super::json::json;
use super::options::{BosRule, CorpusOptions, TextUnit};
use super::pieces::pieces;
use super::record::{Limits, Opening, Place, Raw, RawBody};
use super::tokenizer::Tokenizer;

/// A record or a piece of one, ready to be cut into contexts.
pub(super) struct Unit {
    /// Where reading goes on after it.
    pub(super) after: Place,
    /// Bytes of the file behind it.
    pub(super) file_bytes: u64,
    /// What is in it, or what is wrong with it.
    pub(super) body: Result<Piece, String>,
}

/// Ids of a document, or of a piece of one.
pub(super) struct Piece {
    /// The document's name and labels, where it begins.
    pub(super) opening: Option<Opening>,
    pub(super) ids: Vec<u32>,
    /// Whether BOS, EOS and padding among the ids were put there by whoever made the ids, and so are no text.
    pub(super) ready_made: bool,
    /// Whether the document ends behind it.
    pub(super) closes: bool,
    /// Whether a text had to be cut to be tokenized, counted where the document begins.
    pub(super) split: bool,
}

/// Parses and tokenizes one record of the file `name`.
pub(super) fn parse(raw: Raw, name: &str, options: &CorpusOptions, tokenizer: &Tokenizer, limits: &Limits) -> Unit {
    let Raw { after, file_bytes, body } = raw;
    let body = match body {
        RawBody::Bad(message) => Err(message),
        RawBody::Json { line, number } => json(&line, name, number, options)
            .and_then(|(opening, text)| whole(opening, &text, tokenizer, limits))
            .map_err(|what| format!("{name}:{number}: {what}")),
        RawBody::Row { opening, text } => {
            let row = after.record;
            whole(opening, &text, tokenizer, limits).map_err(|what| format!("{name}:{row}: {what}"))
        }
        RawBody::Text { bytes, record, line, opens, closes } => {
            let opening =
                opens.then(|| Opening { name: format!("{name}:{record}"), labels: vec![None; options.labels.len()] });
            let tail = closes && options.text_unit != TextUnit::File;
            plain(&bytes, tail)
                .map_err(|(at, what)| (line + at, what))
                .and_then(|text| {
                    let ids = tokenizer.encode(&text).map_err(|e| (line, e.to_string()))?;
                    Ok(Piece { split: opens && !closes, opening, ids, ready_made: false, closes })
                })
                .map_err(|(line, what)| format!("{name}:{line}: {what}"))
        }
        RawBody::Ids { opening, ids, closes } => {
            let record = after.record;
            ready_made(opening, ids, closes, options, tokenizer)
                .map_err(|what| format!("{name}: document {record}: {what}"))
        }
    };
    Unit { after, file_bytes, body }
}

/// A whole text, tokenized in pieces where it is long.
fn whole(opening: Opening, text: &str, tokenizer: &Tokenizer, limits: &Limits) -> Result<Piece, String> {
    let split = text.len() > limits.piece_bytes;
    let mut ids = Vec::new();
    for piece in pieces(text, limits.piece_bytes) {
        let more = tokenizer.encode(piece).map_err(|e| e.to_string())?;
        if ids.is_empty() { ids = more } else { ids.extend(more) }
    }
    Ok(Piece { opening: Some(opening), ids, ready_made: false, closes: true, split })
}

/// The text of bytes of a .txt file, line ends as `\n`; `tail`: without a `\r` left from the line end behind it.
/// On failure: how many lines further it lies, and what it is.
fn plain(bytes: &[u8], tail: bool) -> Result<String, (u64, String)> {
    let lines_before = |at: usize| bytes[..at].iter().filter(|&&b| b == b'\n').count() as u64;
    if let Some(at) = bytes.iter().position(|&b| b == 0) {
        return Err((
            lines_before(at),
            "a NUL byte; expected UTF-8 text (this looks like binary data or UTF-16)".to_string(),
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let byte = bytes[e.valid_up_to()];
        (lines_before(e.valid_up_to()), format!("byte 0x{byte:02x} is not UTF-8; expected UTF-8 text"))
    })?;
    let text = if tail { text.strip_suffix('\r').unwrap_or(text) } else { text };
    Ok(if text.contains('\r') { text.replace("\r\n", "\n") } else { text.to_string() })
}

/// Ids from a file, checked. A BOS that stands before them makes room for the one that the options put there.
fn ready_made(
    opening: Option<Opening>,
    mut ids: Vec<u32>,
    closes: bool,
    options: &CorpusOptions,
    tokenizer: &Tokenizer,
) -> Result<Piece, String> {
    let vocab_size = tokenizer.vocab_size();
    if let Some(at) = ids.iter().position(|&id| id as usize >= vocab_size) {
        return Err(format!(
            "id {} at position {at} is not in the tokenizer, whose ids end at {}; check that the ids were made with this \
             tokenizer (and bin_token_bytes, which is {})",
            ids[at],
            vocab_size.saturating_sub(1),
            options.bin_token_bytes
        ));
    }
    let bos = tokenizer.bos_or_convention();
    if opening.is_some() && options.bos != BosRule::None && bos.is_some() && ids.first().copied() == bos {
        ids.remove(0);
    }
    Ok(Piece { opening, ids, ready_made: true, closes, split: false })
}
