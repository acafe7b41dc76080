//! Where do contexts begin and end? Ids of documents in, contexts out, by the rules of `[corpus]`.
//!
//! - `bos = "context"`: BOS takes the first position of every context; `"document"`: BOS comes before each document,
//!   which is then cut; `"none"`: no BOS.
//! - `pack = false`: a context holds one document. `pack = true`: documents follow each other with EOS between (never
//!   before the first or behind the last); the EOS belongs to the document it ends.
//! - `remainder`: a document's last context (packed: the corpus' last) that is short is kept or dropped.
//! - EOS in a text ends the document there, as in `.bin` files. It is not part of the document; `pack` puts it back. Two EOS in a
//!   row have no document between them. With `split_at_eos = false`, and in rows of ready-made ids, EOS ends no document.
//! - `sample`: a document that is not kept gives nothing and has no number.
//! - `shuffle`: the tokens of a document, of a long one those of each piece, are permuted before contexts are cut.
//! - A position is *special* when we put BOS or EOS there, or, in ready-made ids, when it holds BOS, EOS or padding. In
//!   text, other special tokens that are written out are text. Special positions are not counted unless `count_special`.
//! - Empty documents give no context. A context never consists only of the BOS and EOS that the rules above add.

use super::batch::Document;
use super::options::{BosRule, CorpusOptions, Remainder};
use super::parse::Piece;
use super::sample::Sample;
use super::shuffle::{PlaceOfPiece, Shuffle};
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A context as it is cut, its documents by reference.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Cut {
    pub(super) ids: Vec<u32>,
    pub(super) counted: Vec<bool>,
    /// Where documents begin: (first position, document), ascending.
    pub(super) documents: Vec<(u32, Arc<Document>)>,
}

/// What is carried from one piece to the next; all that a resumed run needs to continue cutting.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Carry {
    /// The context begun.
    begun: Cut,
    /// Whether it holds more than BOS and EOS of ours.
    has_content: bool,
    /// The document that continues with the next piece.
    open: Option<Open>,
    /// Packed: the last document that gave an id; EOS is due before the next.
    before: Option<Arc<Document>>,
}

/// A document that is being cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) document: Arc<Document>,
    /// Whether the document is in the sample.
    pub(super) is_kept: bool,
    /// Whether an id of the document was read.
    pub(super) has_begun: bool,
    /// Whether an EOS in the text has ended it: the next id begins another part of the record.
    pub(super) has_ended: bool,
    /// Pieces of it that have come.
    #[serde(default)]
    pub(super) pieces: u64,
}

impl Open {
    /// Begins a document, whose number is given here.
    pub(super) fn begin(mut document: Document, sample: Option<Sample>, counts: &mut Counts) -> Open {
        let Document { file, record, part, .. } = document;
        let is_kept = sample.is_none_or(|sample| sample.keeps(file, record, part));
        document.number = counts.documents;
        if is_kept {
            counts.documents += 1
        } else {
            counts.left_out += 1
        }
        Open { document: Arc::new(document), is_kept, has_begun: false, has_ended: false, pieces: 0 }
    }
}

/// Documents begun so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Kept, empty ones included.
    pub(super) documents: u64,
    /// Not of the sample.
    pub(super) left_out: u64,
}

/// Cuts documents into contexts.
pub(super) struct Cutter {
    context_length: usize,
    bos: BosRule,
    bos_id: u32,
    pack: bool,
    eos_id: u32,
    keep: bool,
    count_special: bool,
    frame_ids: Vec<u32>,
    /// What ends a document inside a text.
    split_at: Option<u32>,
    sample: Option<Sample>,
    /// With the seed that it takes.
    shuffle: Option<(Shuffle, u64)>,
    pub(super) carry: Carry,
}

impl Cutter {
    /// A cutter by `options`, with the special ids of `tokenizer`.
    ///
    /// # Errors
    /// `Request` when the options need a token that the tokenizer lacks, or leave no room for text.
    pub(super) fn new(options: &CorpusOptions, tokenizer: &Tokenizer) -> Result<Cutter> {
        let (bos, pack) = (options.bos, options.pack);
        let least = 1 + usize::from(bos != BosRule::None) + usize::from(pack);
        if options.context_length < least {
            return Err(Error::request(format!(
                "[corpus] context_length is {}; expected at least {least} with bos = \"{}\" and pack = {pack}, else contexts \
                 hold no text",
                options.context_length,
                bos.name()
            )));
        }
        let bos_id = match (bos, tokenizer.bos_or_convention()) {
            (BosRule::None, id) => id.unwrap_or(0),
            (_, Some(id)) => id,
            (_, None) => {
                return Err(Error::request(format!(
                    "[corpus] bos is \"{}\" but the tokenizer has no BOS token; set bos = \"none\"",
                    bos.name()
                )));
            }
        };
        let eos_id = match (pack, tokenizer.eos_id()) {
            (false, id) => id.unwrap_or(0),
            (true, Some(id)) => id,
            (true, None) => {
                return Err(Error::request(
                    "[corpus] pack joins documents with EOS but the tokenizer has no EOS token; set pack = false",
                ));
            }
        };
        Ok(Cutter {
            context_length: options.context_length,
            bos,
            bos_id,
            pack,
            eos_id,
            keep: options.remainder == Remainder::Keep,
            count_special: options.count_special,
            frame_ids: [tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id()].into_iter().flatten().collect(),
            split_at: tokenizer.eos_id().filter(|_| options.split_at_eos),
            sample: options.sample,
            shuffle: options.shuffle.map(|shuffle| (shuffle, options.seed)),
            carry: Carry::default(),
        })
    }

    /// What is put before contexts or documents, if anything is.
    pub(super) fn bos_id(&self) -> Option<u32> {
        (self.bos != BosRule::None).then_some(self.bos_id)
    }

    /// What is put between packed documents, if they are packed.
    pub(super) fn eos_id(&self) -> Option<u32> {
        self.pack.then_some(self.eos_id)
    }

    /// Begins a document, whose number is given here. The one before it is closed.
    pub(super) fn open(&mut self, document: Document, counts: &mut Counts) {
        debug_assert!(self.carry.open.is_none(), "a last piece or a bad record has closed the document before");
        self.carry.open = Some(Open::begin(document, self.sample, counts));
    }

    /// Takes the next piece of the open document. What follows a bad piece of a document belongs to none and is left out.
    pub(super) fn push(&mut self, piece: &Piece, counts: &mut Counts, out: &mut Vec<Cut>) {
        if self.carry.open.is_none() {
            return;
        }
        match self.split_at.filter(|_| !piece.ready_made) {
            Some(eos) => {
                for (k, part) in piece.ids.split(|id| *id == eos).enumerate() {
                    if k > 0 {
                        self.end_part(out);
                    }
                    self.put_part(part, Kind::Text, counts, out);
                }
            }
            None => {
                let kind = if piece.ready_made { Kind::ReadyMade } else { Kind::Text };
                self.put_part(&piece.ids, kind, counts, out);
            }
        }
        if piece.closes {
            self.close(out);
        }
    }

    /// Puts ids of the open document, or of the next part of its record where it has ended.
    fn put_part(&mut self, ids: &[u32], kind: Kind, counts: &mut Counts, out: &mut Vec<Cut>) {
        let Some(open) = self.carry.open.as_ref().filter(|_| !ids.is_empty()) else { return };
        if open.has_ended {
            let before = open.document.clone();
            self.carry.open = None;
            self.open(next_part(&before), counts);
        }
        let open = self.carry.open.as_mut().expect("one is open or was opened just now");
        let (document, begins) = (open.document.clone(), !std::mem::replace(&mut open.has_begun, true));
        let piece = open.pieces;
        open.pieces += 1;
        if !open.is_kept {
            return;
        }
        if begins {
            if self.pack
                && let Some(before) = self.carry.before.replace(document.clone())
            {
                self.put(&[self.eos_id], Kind::Ours, &before, out);
            }
            if self.bos == BosRule::Document {
                self.put(&[self.bos_id], Kind::Ours, &document, out);
            }
        }
        match self.shuffle {
            Some((shuffle, seed)) => {
                let Document { file, record, part, .. } = *document;
                let place = PlaceOfPiece { file, record, part, piece };
                self.put(&shuffle.permuted(ids, seed, place), kind, &document, out);
            }
            None => self.put(ids, kind, &document, out),
        }
    }

    /// An EOS in the text: the document ends, unless it has not begun.
    fn end_part(&mut self, out: &mut Vec<Cut>) {
        let Some(open) = self.carry.open.as_mut().filter(|open| open.has_begun) else { return };
        open.has_ended = true;
        if !self.pack {
            self.end_context(self.keep, out);
        }
    }

    /// Ends the open document, if one is.
    pub(super) fn close(&mut self, out: &mut Vec<Cut>) {
        if self.carry.open.take().is_some() && !self.pack {
            self.end_context(self.keep, out);
        }
    }

    /// Ends the corpus.
    pub(super) fn finish(&mut self, out: &mut Vec<Cut>) {
        self.close(out);
        self.end_context(self.keep, out);
        self.carry = Carry::default();
    }

    /// Appends ids of one kind, over as many contexts as it takes.
    fn put(&mut self, mut ids: &[u32], kind: Kind, document: &Arc<Document>, out: &mut Vec<Cut>) {
        while !ids.is_empty() {
            let begun = &mut self.carry.begun;
            if begun.ids.is_empty() {
                begun.documents.push((0, document.clone()));
                if self.bos == BosRule::Context {
                    begun.ids.push(self.bos_id);
                    begun.counted.push(self.count_special);
                }
            } else if begun.documents.last().is_none_or(|(_, last)| last.number != document.number) {
                begun.documents.push((begun.ids.len() as u32, document.clone()));
            }
            let (now, later) = ids.split_at(ids.len().min(self.context_length - begun.ids.len()));
            begun.ids.extend_from_slice(now);
            match kind {
                Kind::Text => begun.counted.resize(begun.ids.len(), true),
                Kind::Ours => begun.counted.resize(begun.ids.len(), self.count_special),
                Kind::ReadyMade => {
                    let frame = |id: &u32| !self.frame_ids.contains(id) || self.count_special;
                    begun.counted.extend(now.iter().map(frame));
                }
            }
            self.carry.has_content |= kind != Kind::Ours;
            if begun.ids.len() == self.context_length {
                self.end_context(true, out);
            }
            ids = later;
        }
    }

    fn end_context(&mut self, keep: bool, out: &mut Vec<Cut>) {
        let cut = std::mem::take(&mut self.carry.begun);
        if std::mem::take(&mut self.carry.has_content) && keep {
            out.push(cut);
        }
    }
}

/// The part of the record behind `before`, without its number.
pub(super) fn next_part(before: &Document) -> Document {
    let part = before.part + 1;
    let name = match before.part {
        0 => &before.name,
        n => before.name.strip_suffix(&format!("#{}", n + 1)).unwrap_or(&before.name),
    };
    Document { part, name: format!("{name}#{}", part + 1).into(), ..before.clone() }
}

/// Where ids come from, which decides whether they may be special.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Ours,
    ReadyMade,
}
