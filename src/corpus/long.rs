//! A line of JSON that is too long to be held: its fields without the long texts, and each long text piece by piece.
//!
//! The line is scanned once without being kept. What stays is a skeleton in which placeholders replace the long texts; the
//! skeleton is parsed like any other line. The record's text is then read from its start and decoded piece by piece.

use super::bytes::Broken;
use super::json::NAME_BEGINS;
use super::window::Window;

/// A line without its long texts.
pub(super) struct Skeleton {
    /// The line, [`word`] in place of long texts.
    pub(super) line: Vec<u8>,
    pub(super) long: Vec<LongText>,
}

/// A long text of a line.
pub(super) struct LongText {
    /// Bytes of the line before it, its quote included.
    pub(super) offset: u64,
    /// Lone halves of surrogate pairs in it.
    pub(super) surrogates: u64,
    /// How it begins, decoded: more than messages show of it.
    pub(super) begins: String,
}

/// Placeholder of long text number `k` in a skeleton.
pub(super) fn word(k: usize) -> String {
    format!("\u{E000}long text {k}\u{E000}")
}

/// The number of the long text that a placeholder replaces.
pub(super) fn number_of(text: &str) -> Option<usize> {
    text.strip_prefix("\u{E000}long text ")?.strip_suffix('\u{E000}')?.parse().ok()
}

/// Goes through the line that `window` begins with, up to its end. Texts over `hold` bytes are long; the rest may have `most` bytes, the
/// line `longest`. What is wrong with it, in words.
///
/// # Errors
/// Damage of the file, or the machine's failure.
pub(super) fn skeleton(
    window: &mut Window,
    hold: usize,
    most: usize,
    longest: u64,
) -> Result<Result<Skeleton, String>, Broken> {
    let mut scan =
        Scan { out: Skeleton { line: Vec::new(), long: Vec::new() }, hold, at: 0, state: State::Outside, high: false };
    let mut utf8 = Vec::new();
    loop {
        let unread = window.unread();
        let (n, ends) = match unread.iter().position(|&b| b == b'\n') {
            Some(n) => (n, true),
            None => (unread.len(), false),
        };
        let chunk = &unread[..n];
        let wrong = not_utf8(&mut utf8, chunk, ends)
            .map(|at| format!("byte {} is not UTF-8; expected JSON in UTF-8", scan.at + at + 1))
            .or_else(|| chunk.iter().find_map(|&byte| scan.step(byte).err()));
        if let Some(what) = wrong {
            return Ok(Err(what));
        }
        if scan.at > longest {
            return Ok(Err(format!("the line is longer than {longest} bytes; expected one JSON record a line")));
        }
        if scan.out.line.len() > most {
            return Ok(Err(format!("the record holds more than {most} bytes without its long texts")));
        }
        window.consume(n);
        if ends || !window.grow()? {
            break;
        }
    }
    if !utf8.is_empty() {
        return Ok(Err(format!("byte {} is not UTF-8; expected JSON in UTF-8", scan.at)));
    }
    if !matches!(scan.state, State::Outside) {
        return Ok(Err("not a JSON record (EOF while parsing a string)".into()));
    }
    Ok(Ok(scan.out))
}

/// Where the bytes behind `before` (the beginning of a character that continues) stop being UTF-8. What is left of a character stays there.
fn not_utf8(before: &mut Vec<u8>, chunk: &[u8], ends: bool) -> Option<u64> {
    let mut rest = chunk;
    // the character that was cut by the end of the chunk before
    while !before.is_empty() {
        match std::str::from_utf8(before) {
            Ok(_) => before.clear(),
            Err(e) if e.error_len().is_some() => return Some(0),
            Err(_) => match rest.split_first() {
                Some((&byte, more)) => {
                    before.push(byte);
                    rest = more;
                }
                None => return ends.then_some(0),
            },
        }
    }
    match std::str::from_utf8(rest) {
        Ok(_) => None,
        Err(e) if e.error_len().is_some() || ends => Some((chunk.len() - rest.len() + e.valid_up_to()) as u64),
        Err(e) => {
            before.extend_from_slice(&rest[e.valid_up_to()..]);
            None
        }
    }
}

struct Scan {
    out: Skeleton,
    hold: usize,
    /// Bytes of the line gone through.
    at: u64,
    state: State,
    /// Whether the last thing in the text was the first half of a surrogate pair.
    high: bool,
}

enum State {
    Outside,
    /// In a text that began behind byte `offset`, `kept` bytes of the skeleton before it; long: its bytes are not kept.
    Text {
        offset: u64,
        kept: usize,
        surrogates: u64,
        long: bool,
        escape: Escape,
    },
}

/// How far an escape has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Begun,
    /// Digits of `\uXXXX` so far, and their value.
    Digits(u8, u16),
}

impl Scan {
    fn step(&mut self, byte: u8) -> Result<(), String> {
        self.at += 1;
        let at = self.at;
        let wrong = |what: &str| Err(format!("not a JSON record ({what} at column {at})"));
        if byte == 0 {
            return Err(format!("a NUL byte at byte {at}; expected JSON (was the file cut off by a crash?)"));
        }
        let State::Text { offset, kept, surrogates, long, escape } = &mut self.state else {
            self.out.line.push(byte);
            if byte == b'"' {
                let kept = self.out.line.len();
                self.state = State::Text { offset: at, kept, surrogates: 0, long: false, escape: Escape::None };
                self.high = false;
            }
            return Ok(());
        };
        match *escape {
            Escape::None if byte == b'"' => {
                if *long {
                    let begins = decode(&self.out.line[*kept..], 2 * NAME_BEGINS).text;
                    let begins = String::from_utf8_lossy(&begins).into_owned();
                    self.out.line.truncate(*kept);
                    self.out.line.extend_from_slice(word(self.out.long.len()).as_bytes());
                    let surrogates = *surrogates + u64::from(self.high);
                    self.out.long.push(LongText { offset: *offset, surrogates, begins });
                }
                self.out.line.push(byte);
                self.state = State::Outside;
                return Ok(());
            }
            Escape::None if byte == b'\\' => *escape = Escape::Begun,
            Escape::None if byte < 0x20 => return wrong("control character found while parsing a string"),
            Escape::None => *surrogates += u64::from(std::mem::take(&mut self.high)),
            Escape::Begun if byte == b'u' => *escape = Escape::Digits(0, 0),
            Escape::Begun if b"\"\\/bfnrt".contains(&byte) => {
                *surrogates += u64::from(std::mem::take(&mut self.high));
                *escape = Escape::None;
            }
            Escape::Begun => return wrong("invalid escape"),
            Escape::Digits(n, value) => {
                let Some(digit) = char::from(byte).to_digit(16) else { return wrong("invalid escape") };
                let value = value << 4 | digit as u16;
                *escape = if n < 3 { Escape::Digits(n + 1, value) } else { Escape::None };
                if n == 3 {
                    let pairs = (0xDC00..=0xDFFF).contains(&value);
                    *surrogates += u64::from(self.high != pairs && (self.high || pairs));
                    self.high = (0xD800..=0xDBFF).contains(&value);
                }
            }
        }
        if self.out.line.len() - *kept >= self.hold {
            *long = true;
        }
        if !*long {
            self.out.line.push(byte);
        }
        Ok(())
    }
}

/// The beginning of a text in JSON, decoded.
pub(super) struct Decoded {
    pub(super) text: Vec<u8>,
    /// Bytes of the line that gave it.
    pub(super) used: usize,
    /// Whether the text ends there, with a quote.
    pub(super) ends: bool,
}

/// Decodes what `raw` begins with, inside a text: `most` bytes or a few more, up to its end, or as far as it goes.
pub(super) fn decode(raw: &[u8], most: usize) -> Decoded {
    let mut out = Decoded { text: Vec::with_capacity(most.min(raw.len()) + 4), used: 0, ends: false };
    while out.text.len() < most && out.used < raw.len() {
        let rest = &raw[out.used..];
        match rest[0] {
            b'"' => {
                out.ends = true;
                break;
            }
            b'\\' => {
                let Some((character, n)) = escaped(rest) else { break };
                out.text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                out.used += n;
            }
            _ => {
                let near = &rest[..rest.len().min(most - out.text.len())];
                let n = near.iter().position(|b| matches!(b, b'"' | b'\\')).unwrap_or(near.len());
                out.text.extend_from_slice(&near[..n]);
                out.used += n;
            }
        }
    }
    out.ends |= raw.get(out.used) == Some(&b'"');
    out
}

/// The character of an escape and the bytes that it takes; `None` where not all of them are there.
fn escaped(raw: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| -> Option<u16> {
        let digits = raw.get(at..at + 6)?;
        u16::from_str_radix(std::str::from_utf8(digits.strip_prefix(b"\\u")?).ok()?, 16).ok()
    };
    let plain = |c: char| Some((c, 2));
    match *raw.get(1)? {
        b'u' => {
            let first = unit(0)?;
            if !(0xD800..=0xDBFF).contains(&first) {
                return Some((char::from_u32(first.into()).unwrap_or(char::REPLACEMENT_CHARACTER), 6));
            }
            // whether it is half of a pair is known only when the next six bytes are there, or cannot be an escape
            match raw.get(6..12) {
                None if raw.get(6).is_none_or(|b| *b == b'\\') && raw.get(7).is_none_or(|b| *b == b'u') => None,
                _ => match unit(6).filter(|second| (0xDC00..=0xDFFF).contains(second)) {
                    Some(second) => {
                        let code = 0x10000 + ((u32::from(first) - 0xD800) << 10) + (u32::from(second) - 0xDC00);
                        Some((char::from_u32(code).expect("a surrogate pair is a character"), 12))
                    }
                    None => Some((char::REPLACEMENT_CHARACTER, 6)),
                },
            }
        }
        b'b' => plain('\u{8}'),
        b'f' => plain('\u{C}'),
        b'n' => plain('\n'),
        b'r' => plain('\r'),
        b't' => plain('\t'),
        other => plain(char::from(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::tests::cases;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn decoding_gives_what_the_library_reads_in_whatever_steps(text in "[a-z\"\\\\\n\t\u{1}é🙂]{0,60}", step in 1usize..20, ascii in any::<bool>()) {
            let mut raw = serde_json::to_string(&text).unwrap();
            if ascii {
                // as Python writes it
                let escape = |c: char| match c {
                    c if c.is_ascii() => c.to_string(),
                    c => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
                };
                raw = raw.chars().map(escape).collect();
            }
            let raw = &raw.as_bytes()[1..];
            let whole = decode(raw, usize::MAX);
            prop_assert_eq!(std::str::from_utf8(&whole.text).unwrap(), &text);
            prop_assert!(whole.ends && whole.used + 1 == raw.len());
            let (mut at, mut found) = (0, Vec::new());
            loop {
                let next = decode(&raw[at..], step);
                at += next.used;
                found.extend(next.text);
                if next.ends {
                    break;
                }
            }
            prop_assert_eq!(found, whole.text);
            prop_assert_eq!(at + 1, raw.len());
        }
    }

    #[test]
    fn half_pairs_are_replaced_one_by_one() {
        let of = |raw: &str| String::from_utf8(decode(raw.as_bytes(), usize::MAX).text).unwrap();
        assert_eq!(of(r#"\ud800\ud83d\ude00\udc00x""#), "\u{FFFD}\u{1F600}\u{FFFD}x");
        assert_eq!(of(r#"\ud800""#), "\u{FFFD}");
        // not all there
        for cut in [r"\", r"\u12", r"\ud83d", r"\ud83d\ude0"] {
            assert_eq!(decode(cut.as_bytes(), usize::MAX).used, 0, "{cut}");
        }
    }
}
