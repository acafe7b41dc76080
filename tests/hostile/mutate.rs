//! How does a file go wrong? Cut short, bits turned, numbers that promise too much, pieces doubled or gone; by a seed.

/// A stream of numbers (xorshift*), the same for the same seed.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Sizes that a reader should not believe.
const PROMISES: [u64; 14] = [
    0,
    1,
    2,
    7,
    255,
    65_535,
    1 << 20,
    i32::MAX as u64,
    u32::MAX as u64,
    1 << 40,
    1 << 48,
    i64::MAX as u64,
    u64::MAX - 7,
    u64::MAX,
];
/// The same in texts, and what else a number may be.
const WORDS: [&str; 16] = [
    "0",
    "-1",
    "1",
    "3",
    "255",
    "1e9",
    "2097152",
    "2097153",
    "4294967295",
    "9223372036854775807",
    "18446744073709551615",
    "1e400",
    "null",
    "[]",
    "{}",
    "\"\"",
];

/// A copy of `whole` with one to three things wrong. `places` are spans of a file's structure; most damage is done
/// there.
pub fn mutated(whole: &[u8], places: &[(usize, usize)], text: bool, chance: &mut Chance) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..1 + chance.below(3) {
        if bytes.is_empty() {
            break;
        }
        let at = match chance.below(4) {
            0 => chance.below(bytes.len()),
            _ if places.is_empty() => chance.below(bytes.len()),
            _ => {
                let (from, to) = places[chance.below(places.len())];
                (from + chance.below(to - from)).min(bytes.len() - 1)
            }
        };
        match chance.below(if text { 10 } else { 8 }) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << chance.below(8),
            2 => bytes[at] = chance.next() as u8,
            3 | 4 => {
                let n = [2, 4, 8][chance.below(3)];
                let promise = PROMISES[chance.below(PROMISES.len())].to_le_bytes();
                let end = (at + n).min(bytes.len());
                bytes[at..end].copy_from_slice(&promise[..end - at]);
            }
            5 => {
                let end = (at + 1 + chance.below(64)).min(bytes.len());
                bytes.drain(at..end);
            }
            6 => {
                let end = (at + 1 + chance.below(64)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            7 => {
                let (from, n) = (chance.below(bytes.len()), 1 + chance.below(32));
                let piece = bytes[from..(from + n).min(bytes.len())].to_vec();
                let end = (at + piece.len()).min(bytes.len());
                bytes[at..end].copy_from_slice(&piece[..end - at]);
            }
            // a word of the text: the number at or behind `at`, or whatever value begins there
            _ => {
                let start = (at..bytes.len()).find(|&i| bytes[i].is_ascii_digit() || bytes[i] == b'"').unwrap_or(at);
                let quoted = bytes[start] == b'"';
                let end = (start + 1..bytes.len())
                    .find(|&i| if quoted { bytes[i] == b'"' } else { !bytes[i].is_ascii_digit() })
                    .map_or(bytes.len(), |i| i + usize::from(quoted));
                bytes.splice(start..end, WORDS[chance.below(WORDS.len())].bytes());
            }
        }
    }
    bytes
}

/// What must be the same wherever a file is read twice.
#[test]
fn a_seed_gives_the_same_damage_and_most_seeds_give_some() {
    let whole: Vec<u8> = (0..200).map(|i| (i * 7) as u8).collect();
    let all: Vec<Vec<u8>> = (0..200).map(|seed| mutated(&whole, &[(0, 20)], true, &mut Chance::new(seed))).collect();
    let again: Vec<Vec<u8>> = (0..200).map(|seed| mutated(&whole, &[(0, 20)], true, &mut Chance::new(seed))).collect();
    assert_eq!(all, again);
    assert!(all.iter().filter(|m| **m != whole).count() > 180);
}
