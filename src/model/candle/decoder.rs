//! Which contexts are run together? Those of about one length, as many as a group may hold.

use super::Candle;
use crate::error::{Error, Result};
use crate::ids::Hookpoint;
use crate::model::activations::{Model, OneContext};
use crate::model::decoder::Decoder;
use crate::model::shape::ModelShape;

/// Tokens of a group at most, padding included, where it is more than one context.
pub const GROUP_TOKENS: usize = 8192;

/// Scores of a group at most, one head's of a query and a key, where it is more than one context.
pub const GROUP_SCORES: usize = 32 << 20;

impl Model for Decoder<Candle> {
    fn shape(&self) -> &ModelShape {
        &self.shape
    }

    fn write_contexts(&self, hookpoints: &[Hookpoint], contexts: &mut [OneContext]) -> Vec<Result<()>> {
        let mut results: Vec<Result<()>> = contexts.iter().map(|context| self.check(context.ids, hookpoints)).collect();
        let mut runnable: Vec<(usize, &mut OneContext)> =
            contexts.iter_mut().enumerate().filter(|(c, _)| results[*c].is_ok()).collect();
        // the longest first; equal ones in their order
        runnable.sort_by_key(|(_, context)| std::cmp::Reverse(context.ids.len()));
        let lengths: Vec<usize> = runnable.iter().map(|(_, context)| context.ids.len()).collect();
        let mut rest = runnable.into_iter();
        for size in groups(&lengths, self.attention_heads(), &|length| self.turns_alike(length)) {
            let (numbers, mut group): (Vec<usize>, Vec<&mut OneContext>) = rest.by_ref().take(size).unzip();
            if let Err(e) = self.run_and_read(hookpoints, &mut group) {
                let why = e.to_string();
                numbers.into_iter().for_each(|c| results[c] = Err(Error::new(e.kind(), why.clone())));
            }
        }
        results
    }
}

impl Decoder<Candle> {
    /// Runs a group of contexts, alone on the device, and has their rows come back while another may run there.
    fn run_and_read(&self, hookpoints: &[Hookpoint], group: &mut [&mut OneContext]) -> Result<()> {
        let on = self.backend.on();
        let alone = on.alone();
        self.run(hookpoints, group)?;
        on.finish()?;
        drop(alone);
        for context in group {
            for (k, out) in context.out.iter_mut().enumerate() {
                context.there[k].as_ref().map_or(Ok(()), |rows| rows.read_into(out))?;
                context.there[k].take_if(|_| !context.keep.get(k).copied().unwrap_or(false));
            }
        }
        Ok(())
    }

    fn attention_heads(&self) -> usize {
        self.blocks.iter().map(|block| block.attention.n_heads).max().unwrap_or(1)
    }

    /// Whether contexts up to `length` turn the same at the same positions.
    fn turns_alike(&self, length: usize) -> bool {
        let rotations = self.blocks.iter().filter_map(|block| block.attention.rotary.as_ref());
        rotations.into_iter().all(|turning| turning.is_short(length))
    }
}

/// Sizes of groups of contexts, whose `lengths` descend: none is padded by more than a third, and contexts that turn by their own
/// length stand beside equal ones alone.
fn groups(lengths: &[usize], n_heads: usize, turns_alike: &dyn Fn(usize) -> bool) -> Vec<usize> {
    let mut out = Vec::new();
    let mut rest = lengths;
    while let Some(&longest) = rest.first() {
        let by_scores = GROUP_SCORES / (n_heads * longest * longest).max(1);
        let most = (GROUP_TOKENS / longest.max(1)).min(by_scores).max(1);
        let shortest = if turns_alike(longest) { longest - longest / 4 } else { longest };
        let size = rest.iter().take(most).take_while(|&&length| length >= shortest).count();
        out.push(size);
        rest = &rest[size..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hold_what_is_about_as_long() {
        let all = |lengths: &[usize], alike: bool| groups(lengths, 8, &|_| alike);
        assert_eq!(all(&[128, 128, 100, 96, 95, 20, 20, 1, 0], true), [4, 1, 2, 1, 1]);
        assert_eq!(all(&[128, 128, 100, 96, 95, 20, 20, 1, 0], false), [2, 1, 1, 1, 2, 1, 1]);
        assert!(all(&[], true).is_empty());
        // 8 192 tokens at most, and one context however long it is
        assert_eq!(all(&[128; 130], true), [64, 64, 2]);
        assert_eq!(all(&[100_000, 100_000], true), [1, 1]);
        // 8 heads of 2048 x 2048 are all that a group may hold
        assert_eq!(all(&[2048; 3], true), [1, 1, 1]);
        assert_eq!(all(&[1024; 5], true), [4, 1]);
    }
}
