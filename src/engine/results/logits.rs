//! Do matched latents do the same to the logits? Output heads of the models and decoder rows in, correlations of effects out. Weights alone; read at a
//! run's end, once.

use crate::engine::results::agreement::OfPair;
use crate::engine::results::judged::Results;
use crate::error::Result;
use crate::model::{Unembedding, unembedding};
use crate::similarity::{LogitEffects, wide};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

impl Results {
    /// Figures of every pair's matches, where they are asked for; nothing for a pair whose rows are no directions of the stream, or whose
    /// models' heads are not in their files.
    ///
    /// # Errors
    /// Those of reading the heads.
    pub(super) fn on_the_logits(&self) -> Result<Vec<OfPair>> {
        if !self.plan.spec().estimate.logits {
            return Ok(Vec::new());
        }
        let mut heads: BTreeMap<usize, Option<Unembedding>> = BTreeMap::new();
        let mut effects: BTreeMap<[usize; 2], LogitEffects> = BTreeMap::new();
        let mut out = Vec::new();
        for (p, &pair) in self.plan.pairs().iter().enumerate() {
            self.work.at("logits", p)?;
            let mut of_pair = OfPair::default();
            let models = [pair.source, pair.target].map(|s| self.plan.spaces()[s].model());
            let saes = [pair.source, pair.target].map(|s| self.saes[s].as_deref());
            if let ([Some(a), Some(b)], true) = (saes, self.plan.has_logit_effects(pair)) {
                for model in models {
                    if let Entry::Vacant(entry) = heads.entry(model) {
                        entry.insert(unembedding(&self.plan.models()[model].path)?);
                    }
                }
                if let [Some(x), Some(y)] = models.map(|model| heads[&model].as_ref()) {
                    let forward = match effects.entry(models) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(entry) => {
                            let n_vocab = x
                                .n_vocab()
                                .min(y.n_vocab())
                                .min(self.plan.tokenizer_of(pair.source).shared_vocabulary());
                            let rows = |side: usize, first: usize, n: usize| {
                                self.work.halt().check()?;
                                [x, y][side].rows(first, n)
                            };
                            entry.insert(LogitEffects::of(n_vocab, [x.width(), y.width()], rows)?)
                        }
                    };
                    let lengths = [forward.lengths(0, a.decoder_rows()), forward.lengths(1, b.decoder_rows())];
                    let backward = forward.turned();
                    for (side, effects, own, other) in [(0, &*forward, a, b), (1, &backward, b, a)] {
                        of_pair.fill(
                            self.work.halt(),
                            side,
                            &self.views[p][side],
                            |some| effects.across(&wide(own.decoder_rows(), some)),
                            |i, across, partner| {
                                let both = [lengths[side][i], lengths[1 - side][partner as usize]];
                                LogitEffects::correlation(across, other.decoder_rows().row(partner as usize), both)
                            },
                        )?;
                    }
                }
            }
            out.push(of_pair);
        }
        Ok(out)
    }
}
