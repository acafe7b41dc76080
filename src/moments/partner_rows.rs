//! Which earlier row is each row paired with? With the last one of the same key (its token, say) in another document; and what a space's
//! latents were there.
//!
//! What two latents share beyond their token is seen by pairing a row with another row of the same token whose text is another. Rows of
//! one document share a topic, so the partner is always of a document that has ended or been left. A key's row is remembered until the next
//! one takes its place, so memory is bounded by the number of keys, whatever the corpus.
//!
//! [`PartnerIndex`] decides, once for all spaces; [`RowMemory`] keeps the rows of one space.

use crate::corpus::{TokenBatch, TokenView};
use crate::error::Result;
use crate::moments::State;
use crate::moments::sketch::mixed;
use crate::sae::LatentBatch;
use crate::store::{StateLayout, StateReader, StateWriter};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// By what rows are paired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowKey {
    /// Their token.
    #[default]
    Token,
    /// Their token and the one before it in the document.
    Bigram,
    /// Their position in the context.
    Position,
}

impl RowKey {
    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            RowKey::Token => "token",
            RowKey::Bigram => "bigram",
            RowKey::Position => "position",
        }
    }
}

/// Where the partner of a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partner {
    /// In the memory, in this cell.
    Cell(u32),
    /// In the batch itself, this row.
    Row(u32),
}

/// The partners of a batch's rows, and what is to be remembered of the batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partners {
    /// Of each row, `[n_rows]`; `None` where no row of its key in another document came before.
    pub of_rows: Vec<Option<Partner>>,
    /// Cells of the memory that rows of this batch go into, ascending: (cell, row).
    stored: Vec<(u32, u32)>,
}

impl Partners {
    /// None for any of `n_rows` rows, and nothing remembered.
    pub fn none(n_rows: usize) -> Self {
        Partners { of_rows: vec![None; n_rows], stored: Vec::new() }
    }
}

/// A key that is remembered: two cells, of which one holds the last row of a document before, the other the last of the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    /// The key, plus 1; 0 while the slot is free.
    key: u64,
    /// Number of the newest document, plus 1; 0 for none.
    newest: u64,
    /// Which of the two cells is the newest document's.
    side: bool,
    /// Whether the other cell holds a row.
    before: bool,
}

/// The keys that are remembered, in order of their slots.
#[derive(Clone, Debug, PartialEq)]
pub struct PartnerIndex {
    by: RowKey,
    slots: Vec<Slot>,
    /// Slot of each token or position that has one, plus 1; 0 for none; empty for bigrams, whose slot is a hash of the
    /// key.
    slot_of: Vec<u32>,
    /// The same for rows that are pieces of text, which are known by their bytes.
    slot_of_text: BTreeMap<u64, u32>,
    n_used: usize,
    /// Document and token of the last row, each plus 1.
    last: [u64; 2],
    /// Row of the current batch that was put into a cell, plus 1; all 0 between batches.
    fresh: Vec<u32>,
}

impl PartnerIndex {
    /// Nothing seen yet; `n_slots` keys are remembered at most: tokens beyond them have no partner, a bigram takes the slot of another.
    pub fn new(by: RowKey, n_slots: usize) -> Self {
        let n_slots = if by == RowKey::Bigram { n_slots.next_power_of_two() } else { n_slots.max(1) };
        PartnerIndex {
            by,
            slots: vec![Slot::default(); n_slots],
            slot_of: Vec::new(),
            slot_of_text: BTreeMap::new(),
            n_used: 0,
            last: [0; 2],
            fresh: vec![0; 2 * n_slots],
        }
    }

    /// Cells that a space's memory has.
    pub fn n_cells(&self) -> usize {
        2 * self.slots.len()
    }

    /// The slot of a key, taken where it is new; `None` when all are taken.
    fn slot(&mut self, key: u64) -> Option<usize> {
        if self.by == RowKey::Bigram {
            let at = (mixed(key) as usize) & (self.slots.len() - 1);
            if self.slots[at].key != key + 1 {
                self.slots[at] = Slot { key: key + 1, ..Slot::default() };
            }
            return Some(at);
        }
        if key > u64::from(u32::MAX) {
            if let Some(at) = self.slot_of_text.get(&key) {
                return Some(*at as usize - 1);
            }
            if self.n_used == self.slots.len() {
                return None;
            }
            self.slots[self.n_used].key = key + 1;
            self.n_used += 1;
            self.slot_of_text.insert(key, self.n_used as u32);
            return Some(self.n_used - 1);
        }
        let key_at = key as usize;
        if self.slot_of.len() <= key_at {
            self.slot_of.resize(key_at + 1, 0);
        }
        if self.slot_of[key_at] == 0 {
            if self.n_used == self.slots.len() {
                return None;
            }
            self.slots[self.n_used].key = key + 1;
            self.n_used += 1;
            self.slot_of[key_at] = self.n_used as u32;
        }
        Some(self.slot_of[key_at] as usize - 1)
    }

    /// The partners of every row of a batch. Batches come in order.
    pub fn next(&mut self, batch: &TokenBatch, view: &TokenView) -> Partners {
        let mut tokens: Vec<Option<(u32, u32)>> = vec![None; batch.n_rows()];
        for (row, context, position) in view.tokens() {
            // a row of several tokens goes by its last
            tokens[row] = Some((view.contexts[context].ids[position], position as u32));
        }
        let mut out = Partners { of_rows: Vec::with_capacity(batch.n_rows()), stored: Vec::new() };
        for (r, token) in tokens.into_iter().enumerate() {
            let document = batch.document_of(r).number + 1;
            let before = self.last;
            // a row of text is known by its bytes: above all ids, and below what one more overflows
            let text = batch.rows[r].text.map(|text| text.key >> 1 | 1 << 62);
            let known = token.map(|(id, position)| (text.unwrap_or(u64::from(id)), position));
            self.last = [document, known.map_or(0, |(id, _)| id + 1)];
            let key = known.and_then(|(id, position)| match self.by {
                RowKey::Token => Some(id),
                RowKey::Position => Some(u64::from(position)),
                RowKey::Bigram => (before[0] == document && before[1] > 0).then(|| mixed(pair_of(before[1], id)) >> 1),
            });
            let Some(at) = key.and_then(|key| self.slot(key)) else {
                out.of_rows.push(None);
                continue;
            };
            let slot = &mut self.slots[at];
            if slot.newest != 0 && slot.newest != document {
                // the newest document has been left: its row is the one before, and the other cell is free
                slot.side = !slot.side;
                slot.before = true;
            }
            slot.newest = document;
            let cell = |side: bool| 2 * at as u32 + u32::from(side);
            let (own, other) = (cell(slot.side), cell(!slot.side));
            out.of_rows.push(slot.before.then(|| match self.fresh[other as usize] {
                0 => Partner::Cell(other),
                row => Partner::Row(row - 1),
            }));
            if self.fresh[own as usize] == 0 {
                out.stored.push((own, 0));
            }
            self.fresh[own as usize] = r as u32 + 1;
        }
        for (cell, row) in &mut out.stored {
            *row = std::mem::take(&mut self.fresh[*cell as usize]) - 1;
        }
        out.stored.sort_unstable();
        out
    }

    /// Bytes of `n_slots` keys, among `n_keys` that there may be.
    pub fn bytes(n_slots: usize, n_keys: usize) -> u64 {
        (n_slots * (size_of::<Slot>() + 8) + 4 * n_keys) as u64
    }
}

/// Into empty memory what was saved comes back; behind other rows the memory is left as it is: a merge reads no more rows.
impl State for PartnerIndex {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        layout.key("document", self.last[0]).key("token", self.last[1]).tensor::<u64>("slots", &[self.n_saved(), 3])
    }

    fn save(&self, file: &mut StateWriter) -> Result<()> {
        let slots = self.slots[..self.n_saved()].iter();
        let flat: Vec<u64> =
            slots.flat_map(|s| [s.key, s.newest, u64::from(s.side) << 1 | u64::from(s.before)]).collect();
        file.put("slots", &flat)
    }

    fn load(&mut self, file: &mut StateReader, first_row: u64) -> Result<()> {
        if first_row > 0 {
            return Ok(());
        }
        let flat: Vec<u64> = file.tensor("slots")?;
        if flat.len() / 3 > self.slots.len() {
            return Err(file.misfit());
        }
        self.last = [file.number("document")?, file.number("token")?];
        for (at, saved) in flat.chunks_exact(3).enumerate() {
            let slot = Slot { key: saved[0], newest: saved[1], side: saved[2] & 2 != 0, before: saved[2] & 1 != 0 };
            self.slots[at] = slot;
            if self.by != RowKey::Bigram && slot.key > 0 {
                let key = slot.key - 1;
                if key > u64::from(u32::MAX) {
                    self.slot_of_text.insert(key, at as u32 + 1);
                } else {
                    let key = key as usize;
                    if self.slot_of.len() <= key {
                        self.slot_of.resize(key + 1, 0);
                    }
                    self.slot_of[key] = at as u32 + 1;
                }
                self.n_used = at + 1;
            }
        }
        Ok(())
    }
}

impl PartnerIndex {
    /// Slots that a checkpoint holds: those in use, or all of a hash table.
    fn n_saved(&self) -> usize {
        if self.by == RowKey::Bigram { self.slots.len() } else { self.n_used }
    }
}

/// Key of one row and the one before it (plus 1) together.
fn pair_of(before: u64, row: u64) -> u64 {
    if row <= u64::from(u32::MAX) { before << 32 | row } else { mixed(before) ^ row }
}

/// A row as it is remembered: latents ascending, and their values.
type SparseRow = Box<[(u32, f32)]>;

/// The remembered rows of one space.
#[derive(Clone, Debug, PartialEq)]
pub struct RowMemory {
    d_sae: usize,
    /// By cell of the index; empty where there is none, or a row on which nothing fired.
    cells: Vec<SparseRow>,
}

impl RowMemory {
    /// Nothing remembered.
    pub fn new(d_sae: usize, n_cells: usize) -> Self {
        RowMemory { d_sae, cells: vec![SparseRow::default(); n_cells] }
    }

    /// The partner of each row of `latents`, a row without any where it has none; then remembers what is to be of the batch.
    pub fn next(&mut self, partners: &Partners, latents: &LatentBatch) -> LatentBatch {
        let mut out = LatentBatch { d_sae: self.d_sae, row_starts: vec![0], ..LatentBatch::default() };
        for partner in &partners.of_rows {
            match *partner {
                Some(Partner::Cell(cell)) => {
                    let row = &self.cells[cell as usize];
                    out.latents.extend(row.iter().map(|(latent, _)| latent));
                    out.values.extend(row.iter().map(|(_, value)| value));
                }
                Some(Partner::Row(row)) => {
                    let (of, values) = latents.row(row as usize);
                    out.latents.extend_from_slice(of);
                    out.values.extend_from_slice(values);
                }
                None => {}
            }
            out.row_starts.push(out.latents.len() as u32);
        }
        for &(cell, row) in &partners.stored {
            let (of, values) = latents.row(row as usize);
            self.cells[cell as usize] = of.iter().copied().zip(values.iter().copied()).collect();
        }
        out
    }

    /// Bytes of `n_slots` keys whose rows have `entries` latents at most.
    pub fn bytes(n_slots: usize, entries: usize) -> u64 {
        2 * n_slots as u64 * (8 * entries as u64 + size_of::<SparseRow>() as u64 + 16)
    }

    fn n_filled(&self) -> usize {
        self.cells.iter().filter(|row| !row.is_empty()).count()
    }
}

/// As [`PartnerIndex`]: a merge reads no more rows.
impl State for RowMemory {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        let (filled, entries) = (self.n_filled(), self.cells.iter().map(|row| row.len()).sum());
        layout
            .tensor::<u32>("memory.cells", &[filled])
            .tensor::<u32>("memory.lengths", &[filled])
            .tensor::<u32>("memory.latents", &[entries])
            .tensor::<f32>("memory.values", &[entries])
    }

    fn save(&self, file: &mut StateWriter) -> Result<()> {
        let filled = || self.cells.iter().enumerate().filter(|(_, row)| !row.is_empty());
        file.put("memory.cells", &filled().map(|(cell, _)| cell as u32).collect::<Vec<u32>>())?;
        file.put("memory.lengths", &filled().map(|(_, row)| row.len() as u32).collect::<Vec<u32>>())?;
        for row in filled().map(|(_, row)| row) {
            file.put("memory.latents", &row.iter().map(|(latent, _)| *latent).collect::<Vec<u32>>())?;
        }
        filled().try_for_each(|(_, row)| {
            file.put("memory.values", &row.iter().map(|(_, value)| *value).collect::<Vec<f32>>())
        })
    }

    fn load(&mut self, file: &mut StateReader, first_row: u64) -> Result<()> {
        if first_row > 0 {
            return Ok(());
        }
        let (cells, lengths): (Vec<u32>, Vec<u32>) = (file.tensor("memory.cells")?, file.tensor("memory.lengths")?);
        let (latents, values): (Vec<u32>, Vec<f32>) = (file.tensor("memory.latents")?, file.tensor("memory.values")?);
        let total: usize = lengths.iter().map(|n| *n as usize).sum();
        let sound = cells.len() == lengths.len()
            && [latents.len(), values.len()] == [total; 2]
            && cells.iter().all(|cell| (*cell as usize) < self.cells.len())
            && latents.iter().all(|latent| (*latent as usize) < self.d_sae);
        if !sound {
            return Err(file.misfit());
        }
        let mut at = 0;
        for (&cell, &length) in cells.iter().zip(&lengths) {
            let span = at..at + length as usize;
            at = span.end;
            self.cells[cell as usize] =
                latents[span.clone()].iter().copied().zip(values[span].iter().copied()).collect();
        }
        Ok(())
    }
}

/// What each row has more than its partner, latent by latent: a row without any where it has none. Latents of which nothing is left are not in it.
pub fn differences(own: &LatentBatch, partner: &LatentBatch, partners: &Partners) -> LatentBatch {
    let mut out = LatentBatch { d_sae: own.d_sae, row_starts: vec![0], ..LatentBatch::default() };
    for (r, of_row) in partners.of_rows.iter().enumerate() {
        if of_row.is_some() {
            each_of_both(own.row(r), partner.row(r), |latent, x, y| {
                if x != y {
                    out.latents.push(latent);
                    out.values.push(x - y);
                }
            });
        }
        out.row_starts.push(out.latents.len() as u32);
    }
    out
}

/// Every latent that is in `a` or in `b`, ascending, with its value in both; 0 where it is not.
pub(super) fn each_of_both(a: (&[u32], &[f32]), b: (&[u32], &[f32]), mut visit: impl FnMut(u32, f32, f32)) {
    let (mut i, mut j) = (0, 0);
    while i < a.0.len() || j < b.0.len() {
        let latent = match (a.0.get(i), b.0.get(j)) {
            (Some(x), Some(y)) => *x.min(y),
            (Some(x), None) => *x,
            (None, Some(y)) => *y,
            (None, None) => break,
        };
        let take = |side: (&[u32], &[f32]), at: &mut usize| {
            if side.0.get(*at) == Some(&latent) {
                *at += 1;
                side.1[*at - 1]
            } else {
                0.0
            }
        };
        let (x, y) = (take(a, &mut i), take(b, &mut j));
        visit(latent, x, y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Document;
    use crate::moments::accumulator::tests::through_a_file;

    /// One document a batch, of these tokens; token v fires latent v with its place.
    fn batch(number: u64, tokens: &[u32]) -> (TokenBatch, LatentBatch) {
        let mut out = TokenBatch::new(0, 0);
        out.documents = vec![Document { number, ..Document::default() }];
        out.push(tokens.to_vec(), &vec![true; tokens.len()], &[(0, 0)]);
        let latents = LatentBatch {
            d_sae: 9,
            row_starts: (0..=tokens.len() as u32).collect(),
            latents: tokens.to_vec(),
            values: (0..tokens.len()).map(|r| (10 * number as usize + r) as f32 + 0.5).collect(),
            ..LatentBatch::default()
        };
        (out, latents)
    }

    fn next(
        index: &mut PartnerIndex,
        memory: &mut RowMemory,
        (tokens, latents): &(TokenBatch, LatentBatch),
    ) -> LatentBatch {
        let partners = index.next(tokens, &tokens.views[0]);
        memory.next(&partners, latents)
    }

    #[test]
    fn memory_goes_through_a_file_and_a_merge_leaves_it() {
        for key in [RowKey::Token, RowKey::Bigram, RowKey::Position] {
            let mut index = PartnerIndex::new(key, 8);
            let mut memory = RowMemory::new(9, index.n_cells());
            for b in [batch(0, &[1, 2, 3]), batch(1, &[2, 3, 4])] {
                next(&mut index, &mut memory, &b);
            }
            let mut read = (PartnerIndex::new(key, 8), RowMemory::new(9, index.n_cells()));
            through_a_file(&[&index, &memory], &mut [&mut read.0, &mut read.1], 0).unwrap();
            assert_eq!((&read.0, &read.1), (&index, &memory), "{key:?}");
            let more = batch(2, &[3, 4, 2, 3, 4]);
            assert_eq!(next(&mut read.0, &mut read.1, &more), next(&mut index, &mut memory, &more));
            let before = (index.clone(), memory.clone());
            through_a_file(&[&read.0, &read.1], &mut [&mut index, &mut memory], 5).unwrap();
            assert_eq!((&index, &memory), (&before.0, &before.1));
            let mut narrow = RowMemory::new(2, 16);
            assert!(through_a_file(&[&memory], &mut [&mut narrow], 0).is_err());
        }
    }

    #[test]
    fn keys_beyond_the_slots_have_no_partner_and_a_position_is_a_key() {
        let mut index = PartnerIndex::new(RowKey::Token, 2);
        let mut memory = RowMemory::new(9, index.n_cells());
        next(&mut index, &mut memory, &batch(0, &[1, 2, 3]));
        let partners = next(&mut index, &mut memory, &batch(1, &[3, 2, 1]));
        assert_eq!(partners.row_starts, [0, 0, 1, 2], "token 3 came too late for a slot");
        assert_eq!((partners.latents, partners.values), (vec![2, 1], vec![1.5, 0.5]));
        let mut index = PartnerIndex::new(RowKey::Position, 3);
        let mut memory = RowMemory::new(9, index.n_cells());
        next(&mut index, &mut memory, &batch(0, &[5, 6]));
        assert_eq!(next(&mut index, &mut memory, &batch(1, &[7, 8, 7])).latents, [5, 6]);
    }
}
