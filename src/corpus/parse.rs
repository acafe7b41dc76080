//! One record parsed: from what a reader read to a document's opening and its ids, independently of all other records.
//!
//! Everything here is a pure function of one record, so records are parsed and tokenized in parallel.

use super::json::{Record, json};
use super::options::{BosRule, CorpusOptions, RowRule, TextUnit};
use super::record::{FilePosition, Limits, Opening, Raw, RawBody};
use super::split::{Windowed, boundary, ids_of, pieces, tokens_of, windowed};
use super::token_bytes::SpanToken;
use super::tokenizer::Tokenizer;
use super::trail::{Digest, digest_of};
use std::sync::Arc;

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
    /// Where a row is a token: the ids.
    pub(super) ids: Vec<u32>,
    /// Where rows are pieces of text: the text, and its tokens.
    pub(super) spans: Option<SpannedText>,
    /// Whether BOS, EOS and padding among the ids were put there when the ids were made, and so are no text.
    pub(super) ready_made: bool,
    /// Whether the document ends behind it.
    pub(super) closes: bool,
    /// Whether tokens next to a cut may differ from those of the whole text.
    pub(super) split: bool,
    /// Halves of surrogate pairs in the record that became U+FFFD, and the message about them.
    pub(super) surrogates: Option<(u64, String)>,
}

/// A text, or a piece of one, as several tokenizers cut it.
#[derive(Default)]
pub(super) struct SpannedText {
    pub(super) text: String,
    /// One list per tokenizer, ends counted from the beginning of `text`; the last may lie behind it, in the next piece. `None` where one
    /// of them does not say which bytes its tokens are of.
    pub(super) tokens: Option<Vec<Vec<SpanToken>>>,
}

impl Piece {
    /// A piece of a text that was neither cut nor mended.
    fn text(opening: Option<Opening>, ids: Vec<u32>, closes: bool) -> Piece {
        Piece { opening, ids, spans: None, ready_made: false, closes, split: false, surrogates: None }
    }
}

/// What a record is parsed by.
#[derive(Clone, Copy)]
pub(super) struct ParseOptions<'a> {
    /// Name of its file, and its key.
    pub(super) name: &'a str,
    pub(super) key: u64,
    pub(super) options: &'a CorpusOptions,
    /// The first is that of ready-made ids.
    pub(super) tokenizers: &'a [Arc<Tokenizer>],
    pub(super) limits: &'a Limits,
}

impl ParseOptions<'_> {
    /// Whether a record need not be tokenized because its one document is not in the sample.
    fn leaves_out(&self, record: u64, text: &str) -> bool {
        let Some(sample) = self.options.sample else { return false };
        let eos = |t: &Tokenizer| t.eos_id().filter(|_| self.options.split_at_eos).map(|id| t.token_text(id));
        let ends = |t: &Arc<Tokenizer>| eos(t).is_some_and(|eos| text.contains(&eos));
        !sample.keeps(self.key, record, 0) && !self.tokenizers.iter().any(ends)
    }

    /// Refuses a text that the tokenizers of two models which are one tokenizer here cut differently. `begins`: bytes of the document before
    /// the piece and its margin, where they are known.
    fn check_agreement(&self, piece: &Windowed<'_>, begins: Option<usize>) -> Result<(), String> {
        for tokenizer in self.tokenizers {
            let Some(found) = tokenizer.disagreement(piece.text).map_err(|e| e.to_string())? else { continue };
            let place = match begins {
                Some(begins) => format!("at byte {}", begins + found.byte),
                None => {
                    let head: String = piece.text.chars().take(40).collect();
                    format!("at byte {} of the part that begins with {head:?}", found.byte)
                }
            };
            return Err(format!("{place}, {found}"));
        }
        Ok(())
    }

    /// Puts the tokens of a piece of a text behind those of the pieces before it. Returns whether they are known to be those of the
    /// whole text.
    fn tokenize(&self, piece: &Windowed<'_>, out: &mut Piece) -> Result<bool, String> {
        let margin = self.limits.margin_bytes;
        if self.options.rows == RowRule::Tokens {
            let (more, agrees) = ids_of(piece, margin, &self.tokenizers[0]).map_err(|e| e.to_string())?;
            if out.ids.is_empty() {
                out.ids = more
            } else {
                out.ids.extend(more)
            }
            return Ok(agrees);
        }
        let first = || SpannedText { text: String::new(), tokens: Some(vec![Vec::new(); self.tokenizers.len()]) };
        let spans = out.spans.get_or_insert_with(first);
        let (base, mut agree) = (spans.text.len() as u64, true);
        spans.text.push_str(&piece.text[piece.piece.clone()]);
        for (view, tokenizer) in self.tokenizers.iter().enumerate() {
            let (more, agrees) = tokens_of(piece, margin, tokenizer).map_err(|e| e.to_string())?;
            agree &= agrees;
            match (&mut spans.tokens, more) {
                (Some(tokens), Some(more)) => {
                    tokens[view].extend(more.into_iter().map(|t| SpanToken { end: base + t.end, ..t }))
                }
                (tokens, _) => *tokens = None,
            }
        }
        Ok(agree)
    }
}

/// Parses and tokenizes one record.
pub(super) fn parse(raw: Raw, asked: &ParseOptions<'_>) -> Unit {
    let ParseOptions { name, key, options, tokenizers, limits } = *asked;
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
            ready_made(opening, ids, closes, options, &tokenizers[0])
                .map_err(|what| format!("{name}: document {record}: {what}"))
        }
    };
    Unit { after, file_bytes, digest, key, body: body.map_err(|what| Bad { what, records: 1 }) }
}

/// A whole text, tokenized in pieces where it is long.
fn whole(opening: Opening, text: &str, record: u64, asked: &ParseOptions<'_>) -> Result<Piece, String> {
    let Limits { piece_bytes, margin_bytes, .. } = *asked.limits;
    let mut out = Piece::text(Some(opening), Vec::new(), true);
    if asked.leaves_out(record, text) {
        return Ok(out);
    }
    let mut begins = 0;
    for piece in pieces(text, piece_bytes, margin_bytes) {
        asked.check_agreement(&piece, Some(begins - piece.piece.start))?;
        begins += piece.piece.len();
        out.split |= !asked.tokenize(&piece, &mut out)?;
    }
    Ok(out)
}

/// A piece of a text, tokenized with its margins.
fn one_piece(
    piece: &Windowed<'_>,
    opening: Option<Opening>,
    closes: bool,
    asked: &ParseOptions<'_>,
) -> Result<Piece, String> {
    asked.check_agreement(piece, (opening.is_some()).then_some(0))?;
    let mut out = Piece::text(opening, Vec::new(), closes);
    out.split = !asked.tokenize(piece, &mut out)?;
    Ok(out)
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
    if let Some((at, what)) = tokenizer.unshared_id(&ids) {
        return Err(format!("id {} at position {at} {what}", ids[at]));
    }
    let bos = tokenizer.bos_or_convention();
    if opening.is_some() && options.bos != BosRule::None && bos.is_some() && ids.first().copied() == bos {
        ids.remove(0);
    }
    Ok(Piece { ready_made: true, ..Piece::text(opening, ids, closes) })
}
