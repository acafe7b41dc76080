//! In which order are the tokens of a document? `[corpus] shuffle` permutes them, or blocks of them, as a control: each token stays in its
//! document, so documents, labels and unigram counts stay and what depends on neighbours goes.

use crate::linalg::Stream;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// `[corpus] shuffle = "tokens"`, or the number of tokens of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shuffle {
    /// Consecutive tokens that stay together; 1: every token by itself.
    pub block: u64,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected \"tokens\", or the number of tokens of a block (1 or more)")]
enum Written {
    Tokens(Tokens),
    Block(std::num::NonZeroU64),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Tokens {
    Tokens,
}

impl<'de> Deserialize<'de> for Shuffle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::Tokens(Tokens::Tokens) => Shuffle { block: 1 },
            Written::Block(block) => Shuffle { block: block.get() },
        })
    }
}

impl Serialize for Shuffle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::num::NonZeroU64::new(self.block) {
            Some(block) if block.get() > 1 => Written::Block(block),
            _ => Written::Tokens(Tokens::Tokens),
        }
        .serialize(serializer)
    }
}

impl fmt::Display for Shuffle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.block {
            0 | 1 => f.write_str("tokens of each document in random order"),
            n => write!(f, "blocks of {n} tokens of each document in random order"),
        }
    }
}

/// Which piece of which document is permuted.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlaceOfPiece {
    /// Key of the file.
    pub file: u64,
    /// Record in the file.
    pub record: u64,
    /// Document in the record.
    pub part: u32,
    /// Piece of the document, from 0.
    pub piece: u64,
}

impl Shuffle {
    /// `ids` with their blocks in another order: a function of the seed, the place and the number of blocks alone. The last block may
    /// be short, and goes anywhere.
    pub(super) fn permuted(self, ids: &[u32], seed: u64, place: PlaceOfPiece) -> Vec<u32> {
        let block = usize::try_from(self.block.max(1)).unwrap_or(usize::MAX);
        let mut blocks: Vec<&[u32]> = ids.chunks(block).collect();
        let PlaceOfPiece { file, record, part, piece } = place;
        Stream::new(seed, &format!("corpus shuffle {file} {record} {part}"), piece).shuffle(&mut blocks);
        blocks.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: PlaceOfPiece = PlaceOfPiece { file: 1, record: 2, part: 0, piece: 0 };

    #[test]
    fn the_same_tokens_in_another_order_and_blocks_stay_whole() {
        let ids: Vec<u32> = (0..103).collect();
        let drawn = |block, seed, place| Shuffle { block }.permuted(&ids, seed, place);
        for block in [1, 10, 103, 1000] {
            let mut sorted = drawn(block, 7, PLACE);
            sorted.sort_unstable();
            assert_eq!(sorted, ids);
        }
        assert_eq!(drawn(103, 7, PLACE), ids, "one block has one order");
        let tens = drawn(10, 7, PLACE);
        assert_ne!(tens, ids);
        let breaks = tens.windows(2).filter(|w| w[1] != w[0] + 1).count();
        assert!(breaks <= 10, "{breaks} places where a block ends");
        let one = drawn(1, 7, PLACE);
        for other in [drawn(1, 8, PLACE), drawn(1, 7, PlaceOfPiece { record: 3, ..PLACE })] {
            assert_ne!(one, other);
        }
        for other in [PlaceOfPiece { piece: 1, ..PLACE }, PlaceOfPiece { part: 1, ..PLACE }] {
            assert_ne!(one, drawn(1, 7, other));
        }
        assert_eq!(one, drawn(1, 7, PLACE));
    }

    #[test]
    fn written_forms_are_read_and_written_back() {
        let read = |text: &str| serde_json::from_str::<Shuffle>(text);
        for (text, block) in [("\"tokens\"", 1), ("32", 32)] {
            let shuffle = read(text).unwrap();
            assert_eq!((shuffle.block, serde_json::to_string(&shuffle).unwrap()), (block, text.to_string()));
        }
        assert_eq!(read("1").unwrap(), read("\"tokens\"").unwrap());
        for wrong in ["0", "-1", "\"words\"", "true"] {
            assert!(read(wrong).unwrap_err().to_string().contains("expected \"tokens\""), "{wrong}");
        }
    }
}
