//! One record parsed: from what a reader read to a document's opening and its ids, independently of all other records.
//!
//! Everything here is a pure function of one record, so records are parsed and tokenized in parallel.

use super::json::{Record, json};
use super::options::{BosRule, CorpusOptions, TextUnit};
use super::record::{FilePosition, Limits, Opening, Raw, RawBody};
use super::split::{Windowed, boundary, ids_of, pieces, windowed};
use super::tokenizer::Tokenizer;
use super::trail::{Digest, digest_of};

/// A record or a piece of one, ready to be cut into contexts.
pub(super) struct Unit {
    /// Position of reading after it.
    pub(super) after: FilePosition,
    /// Bytes of the file behind it.
    pub(super) file_bytes: u64,
    /// Digest of what was read.
    pub(super) digest: Digest,
    /// Key of its file.
    pub(super) key: u64,
    /// What is in it, or what is wrong with it.
    pub(super) body: Result<Piece, Bad>,
}

/// What is wrong with a record, and how many are lost by it.
pub(super) struct Bad {
    pub(super) what: String,
    pub(super) records: u64,
}

/// Ids of a document, or of a piece of one.
pub(super) struct Piece {
    /// The document's name and labels, where it begins.
    pub(super) opening: Option<Opening>,
    pub(super) ids: Vec<u32>,
    /// Whether BOS, EOS and padding among the ids were put there when the ids were made, and so are no text.
    pub(super) ready_made: bool,
    /// Whether the document ends behind it.
    pub(super) closes: bool,
    /// Whether tokens next to a cut may differ from those of the whole text.
    pub(super) split: bool,
    /// Halves of surrogate pairs in the record that became U+FFFD, and the message about them.
    pub(super) surrogates: Option<(u64, String)>,
}

impl Piece {
    /// A piece of a text that was neither cut nor mended.
    fn text(opening: Option<Opening>, ids: Vec<u32>, closes: bool) -> Piece {
        Piece { opening, ids, ready_made: false, closes, split: false, surrogates: None }
    }
}

/// What a record is parsed by.
#[derive(Clone, Copy)]
pub(super) struct ParseOptions<'a> {
    /// Name of its file, and its key.
    pub(super) name: &'a str,
    pub(super) key: u64,
    pub(super) options: &'a CorpusOptions,
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) limits: &'a Limits,
}

impl ParseOptions<'_> {
    /// Whether a record gives nothing, so that it need not be tokenized: its one document is not of the sample.
    fn leaves_out(&self, record: u64, text: &str) -> bool {
        let Some(sample) = self.options.sample else { return false };
        let eos = self.tokenizer.eos_id().filter(|_| self.options.split_at_eos).map(|id| self.tokenizer.token_text(id));
        !sample.keeps(self.key, record, 0) && !eos.is_some_and(|eos| text.contains(&eos))
    }
}

/// Parses and tokenizes one record.
pub(super) fn parse(raw: Raw, asked: &ParseOptions<'_>) -> Unit {
    let ParseOptions { name, key, options, tokenizer, limits } = *asked;
    let record = match &raw.body {
        RawBody::Json { line, number } => Some(json(line, name, *number, options)),
        _ => None,
    };
    let digest = digest_of(&raw, record.as_ref());
    let Raw { after, file_bytes, body } = raw;
    let body = match body {
        RawBody::Bad { what, records } => {
            return Unit { after, file_bytes, digest, key, body: Err(Bad { what, records }) };
        }
        RawBody::Json { number, .. } => (record.expect("it was parsed above"))
            .and_then(|Record { opening, text, surrogates }| {
                let piece = whole(opening, &text, after.record, asked)?;
                let surrogates = (surrogates > 0).then(|| (surrogates, format!("{name}:{number}")));
                Ok(Piece { surrogates, ..piece })
            })
            .map_err(|what| format!("{name}:{number}: {what}")),
        RawBody::Row { opening, text } => {
            let row = after.record;
            whole(opening, &text, row, asked).map_err(|what| format!("{name}:{row}: {what}"))
        }
        RawBody::Text { bytes, piece, record, line, opens, closes } => {
            let opening =
                opens.then(|| Opening { name: format!("{name}:{record}"), labels: vec![None; options.labels.len()] });
            let tail = closes && options.text_unit != TextUnit::File;
            // margins are other pieces' text: what is wrong in them is named there
            let lossy = |part: &[u8]| String::from_utf8_lossy(part).replace("\r\n", "\n");
            let margins = [lossy(&bytes[..piece.start]), lossy(&bytes[piece.end..])];
            // the margins inside the piece are measured in bytes of the file, as its neighbours' are
            let margin = limits.margin_bytes;
            let behind_first = boundary(&bytes, piece.start + margin).max(piece.start);
            let before_last = boundary(&bytes, piece.end.saturating_sub(margin)).min(piece.end);
            let inner = [lossy(&bytes[piece.start..behind_first]).len(), lossy(&bytes[before_last..piece.end]).len()];
            plain(&bytes[piece], tail)
                .map_err(|(at, what)| (line + at, what))
                .and_then(|text| {
                    let [before, behind] = margins;
                    let range = before.len()..before.len() + text.len();
                    let [begins, ends] = [before.is_empty(), behind.is_empty()];
                    let all = if begins && ends { text } else { [before, text, behind].concat() };
                    let windowed = Windowed {
                        text: &all,
                        piece: range.clone(),
                        behind_first: (!begins).then_some(range.start + inner[0]),
                        // a text's last line end is not in it: only a piece with a margin behind reaches so far
                        before_last: (!ends).then(|| range.end - inner[1]),
                    };
                    one_piece(&windowed, opening, closes, asked).map_err(|what| (line, what))
                })
                .map_err(|(line, what)| format!("{name}:{line}: {what}"))
        }
        RawBody::Long { opening, text, piece, surrogates, closes } => {
            let row = after.record;
            let surrogates = (surrogates > 0).then(|| (surrogates, format!("{name}:{row}")));
            one_piece(&windowed(&text, piece, limits.margin_bytes), opening, closes, asked)
                .map(|piece| Piece { surrogates, ..piece })
                .map_err(|what| format!("{name}:{row}: {what}"))
        }
        RawBody::Ids { opening, ids, closes } => {
            let record = after.record;
            ready_made(opening, ids, closes, options, tokenizer)
                .map_err(|what| format!("{name}: document {record}: {what}"))
        }
    };
    Unit { after, file_bytes, digest, key, body: body.map_err(|what| Bad { what, records: 1 }) }
}

/// A whole text, tokenized in pieces where it is long.
fn whole(opening: Opening, text: &str, record: u64, asked: &ParseOptions<'_>) -> Result<Piece, String> {
    let Limits { piece_bytes, margin_bytes, .. } = *asked.limits;
    let (mut ids, mut split) = (Vec::new(), false);
    if asked.leaves_out(record, text) {
        return Ok(Piece::text(Some(opening), ids, true));
    }
    for piece in pieces(text, piece_bytes, margin_bytes) {
        let (more, agrees) = ids_of(&piece, margin_bytes, asked.tokenizer).map_err(|e| e.to_string())?;
        if ids.is_empty() {
            ids = more
        } else {
            ids.extend(more)
        }
        split |= !agrees;
    }
    Ok(Piece { split, ..Piece::text(Some(opening), ids, true) })
}

/// A piece of a text, tokenized with its margins.
fn one_piece(
    piece: &Windowed<'_>,
    opening: Option<Opening>,
    closes: bool,
    asked: &ParseOptions<'_>,
) -> Result<Piece, String> {
    let (ids, agrees) = ids_of(piece, asked.limits.margin_bytes, asked.tokenizer).map_err(|e| e.to_string())?;
    Ok(Piece { split: !agrees, ..Piece::text(opening, ids, closes) })
}

/// The text of bytes of a .txt file, line ends as `\n`; `tail`: without a `\r` left from the line end behind it.
/// On failure: how many lines further it is, and what it is.
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

/// Ids from a file, checked. A BOS before them makes room for the one that the options put there.
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
    Ok(Piece { ready_made: true, ..Piece::text(opening, ids, closes) })
}
