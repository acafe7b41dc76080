//! How are the layers wired? One decoder for every family and every backend: embedding, blocks, final norm. Hookpoints are read on
//! the way. Nothing is computed after the last hookpoint that is read, and logits never.

use super::activations::OneContext;
use super::architecture::Wiring;
use super::backend::{AttentionOf, Backend, Mlp, Part};
use super::embedding::Embedding;
use super::shape::ModelShape;
use crate::error::{Error, Result};
use crate::ids::Hookpoint;

/// A loaded model of any family.
pub struct Decoder<B: Backend> {
    /// What it is computed with.
    pub backend: B,
    /// Its sizes.
    pub shape: ModelShape,
    /// Name for messages: the path it was opened by.
    pub name: String,
    /// What enters block 0.
    pub input: Input<B>,
    /// The blocks that were loaded, from 0.
    pub blocks: Vec<Block<B>>,
    /// The norm after the last block; OPT's post-norm models have none.
    pub final_norm: Option<B::Norm>,
}

/// What enters block 0.
pub struct Input<B: Backend> {
    /// Token table, `[n_vocab, d]`.
    pub tokens: Embedding,
    /// Multiplies the token rows (Gemma).
    pub scale: Option<f32>,
    /// From the token table's width to `d_model` (OPT).
    pub project: Option<B::Linear>,
    /// Learned positions and the row of position 0.
    pub positions: Option<(Embedding, usize)>,
}

/// One block.
pub struct Block<B: Backend> {
    /// The attention.
    pub attention: AttentionOf<B>,
    /// The MLP.
    pub mlp: Mlp<B::Linear>,
    /// Where the norms are and what is added to what.
    pub wiring: Wiring<B::Norm>,
}

/// Hookpoints asked for, the contexts that are run together, and which hookpoints were read so far.
struct Reading<'r, 'a, 'c> {
    wanted: Vec<Hookpoint>,
    contexts: &'r mut [&'a mut OneContext<'c>],
    taken: Vec<bool>,
}

impl Reading<'_, '_, '_> {
    /// Writes `x` to every place where `hookpoint` was asked for; true when nothing is left to read.
    fn take<B: Backend>(&mut self, backend: &B, hookpoint: Hookpoint, x: &B::X) -> Result<bool> {
        for (k, wanted) in self.wanted.iter().enumerate() {
            if *wanted == hookpoint {
                backend.write(x, self.contexts, k)?;
                self.taken[k] = true;
            }
        }
        Ok(self.is_done())
    }

    fn wants(&self, hookpoint: Hookpoint) -> bool {
        self.wanted.contains(&hookpoint)
    }

    fn is_done(&self) -> bool {
        self.taken.iter().all(|&taken| taken)
    }

    /// Tokens of the longest context.
    fn length(&self) -> usize {
        self.contexts.iter().map(|context| context.ids.len()).max().unwrap_or(0)
    }
}

/// What attention leaves behind in a block: what the MLP's output is added to, and what enters the MLP where that is another.
struct Attended<X> {
    base: X,
    into_mlp: Option<X>,
}

/// Reads a hookpoint, and returns from the function around it once everything asked for has been read.
macro_rules! read {
    ($backend:expr, $reading:expr, $hookpoint:expr, $x:expr) => {
        if $reading.take($backend, $hookpoint, $x)? {
            return Ok(None);
        }
    };
}

impl<B: Backend> Block<B> {
    /// `x` through the block; `None` once everything asked for has been read.
    fn forward(&self, backend: &B, l: usize, x: &B::X, reading: &mut Reading) -> Result<Option<B::X>> {
        let Some(Attended { base, into_mlp }) = self.attend(backend, l, x, reading)? else { return Ok(None) };
        let into_mlp = into_mlp.as_ref().unwrap_or(&base);
        read!(backend, reading, Hookpoint::MlpIn(l), into_mlp);
        let out = match &self.wiring {
            Wiring::Sandwich { after_mlp, .. } | Wiring::PostNorms { after_mlp, .. } => {
                let Some(mlp) = self.mix(backend, l, into_mlp, reading)? else { return Ok(None) };
                let normed = backend.normed(after_mlp, &mlp)?;
                read!(backend, reading, Hookpoint::MlpOutNormed(l), &normed);
                backend.sum(&base, &normed)?
            }
            Wiring::Sequential(..) | Wiring::Parallel(..) | Wiring::ParallelShared(_) | Wiring::After(..) => {
                let inside = [Hookpoint::MlpOut(l)].into_iter().chain(inside_mlp(l)).any(|h| reading.wants(h));
                let sum = if inside {
                    let Some(mlp) = self.mix(backend, l, into_mlp, reading)? else { return Ok(None) };
                    backend.sum(&base, &mlp)?
                } else {
                    // added to the stream at once, with the same bits
                    backend.mlp_onto(&self.mlp, into_mlp, &base)?
                };
                if let Wiring::After(_, norm) = &self.wiring { backend.normed(norm, &sum)? } else { sum }
            }
        };
        read!(backend, reading, Hookpoint::ResidPost(l), &out);
        Ok(Some(out))
    }

    /// `x` through the attention; `None` once everything asked for has been read.
    fn attend(&self, backend: &B, l: usize, x: &B::X, reading: &mut Reading) -> Result<Option<Attended<B::X>>> {
        let before = match &self.wiring {
            Wiring::Sequential(norm, _) | Wiring::Parallel(norm, _) | Wiring::ParallelShared(norm) => Some(norm),
            Wiring::Sandwich { before_attention, .. } => Some(before_attention),
            Wiring::PostNorms { .. } | Wiring::After(..) => None,
        };
        let normed = before.map(|norm| backend.normed(norm, x)).transpose()?;
        let into_attention = normed.as_ref().unwrap_or(x);
        read!(backend, reading, Hookpoint::AttnIn(l), into_attention);
        let projected = backend.project(&self.attention, into_attention)?;
        for (part, place) in
            [(Part::Query, Hookpoint::AttnQ(l)), (Part::Key, Hookpoint::AttnK(l)), (Part::Value, Hookpoint::AttnV(l))]
        {
            if reading.wants(place) {
                read!(backend, reading, place, &backend.side_by_side(&projected, part)?);
            }
        }
        let z = backend.heads(&self.attention, projected, reading.length())?;
        read!(backend, reading, Hookpoint::AttnZ(l), &z);
        let output = &self.attention.output;
        let base = match &self.wiring {
            Wiring::Sandwich { after_attention, .. } | Wiring::PostNorms { after_attention, .. } => {
                let attention = backend.apply(output, &z)?;
                read!(backend, reading, Hookpoint::AttnOut(l), &attention);
                let normed = backend.normed(after_attention, &attention)?;
                read!(backend, reading, Hookpoint::AttnOutNormed(l), &normed);
                backend.sum(x, &normed)?
            }
            // where its own output is not read, it is added to the stream at once, with the same bits
            _ if !reading.wants(Hookpoint::AttnOut(l)) => backend.apply_onto(output, &z, x)?,
            _ => {
                let attention = backend.apply(output, &z)?;
                read!(backend, reading, Hookpoint::AttnOut(l), &attention);
                backend.sum(x, &attention)?
            }
        };
        let has_middle =
            matches!(&self.wiring, Wiring::Sequential(..) | Wiring::Sandwich { .. } | Wiring::PostNorms { .. });
        if has_middle {
            read!(backend, reading, Hookpoint::ResidMid(l), &base);
        }
        let (base, into_mlp) = match &self.wiring {
            Wiring::Sequential(_, norm) | Wiring::Sandwich { before_mlp: norm, .. } => {
                let into_mlp = backend.normed(norm, &base)?;
                (base, Some(into_mlp))
            }
            Wiring::Parallel(_, norm) => (base, Some(backend.normed(norm, x)?)),
            Wiring::ParallelShared(_) => (base, normed),
            Wiring::PostNorms { .. } => (base, None),
            Wiring::After(norm, _) => (backend.normed(norm, &base)?, None),
        };
        Ok(Some(Attended { base, into_mlp }))
    }

    /// `x` through the MLP; `None` once everything asked for has been read. Where a place inside it is read, it goes layer by layer.
    fn mix(&self, backend: &B, l: usize, x: &B::X, reading: &mut Reading) -> Result<Option<B::X>> {
        let Mlp { gate, up, activation, down } = &self.mlp;
        let out = if inside_mlp(l).into_iter().any(|place| reading.wants(place)) {
            let up = backend.apply(up, x)?;
            let gate = gate.as_ref().map(|gate| backend.apply(gate, x)).transpose()?;
            if gate.is_some() {
                reading.take(backend, Hookpoint::MlpUp(l), &up)?;
            }
            let pre = gate.as_ref().unwrap_or(&up);
            reading.take(backend, Hookpoint::MlpPre(l), pre)?;
            if reading.wants(Hookpoint::MlpGateAct(l)) {
                reading.take(backend, Hookpoint::MlpGateAct(l), &backend.activate(*activation, pre)?)?;
            }
            let hidden = match &gate {
                Some(gate) => backend.gated(*activation, gate, &up)?,
                None => backend.activate(*activation, &up)?,
            };
            read!(backend, reading, Hookpoint::MlpAct(l), &hidden);
            backend.apply(down, &hidden)?
        } else {
            backend.mlp(&self.mlp, x)?
        };
        read!(backend, reading, Hookpoint::MlpOut(l), &out);
        Ok(Some(out))
    }
}

/// The places between an MLP's input and its output.
fn inside_mlp(l: usize) -> [Hookpoint; 4] {
    [Hookpoint::MlpPre(l), Hookpoint::MlpUp(l), Hookpoint::MlpGateAct(l), Hookpoint::MlpAct(l)]
}

impl<B: Backend> Decoder<B> {
    /// What enters block 0; `None` once everything asked for has been read.
    fn embed(&self, reading: &mut Reading) -> Result<Option<B::X>> {
        let (backend, length) = (&self.backend, reading.length());
        let Input { tokens, scale, project, positions } = &self.input;
        // a context's tokens, and padding up to the longest
        let padded = |of: &dyn Fn(&OneContext, usize) -> usize| -> Vec<Option<usize>> {
            let each = |context: &&mut OneContext| {
                (0..length).map(|i| (i < context.ids.len()).then(|| of(context, i))).collect::<Vec<_>>()
            };
            reading.contexts.iter().flat_map(each).collect()
        };
        let ids = padded(&|context, i| context.ids[i] as usize);
        let at = positions.as_ref().map(|(table, first)| (table, padded(&|_, i| first + i)));
        let mut x = backend.rows(tokens.rows(ids.into_iter(), *scale)?, tokens.width())?;
        read!(backend, reading, Hookpoint::TokenEmbed, &x);
        if let Some(project) = project {
            x = backend.apply(project, &x)?;
        }
        if let Some((table, at)) = at {
            x = backend.sum(&x, &backend.rows(table.rows(at.into_iter(), None)?, table.width())?)?;
        }
        read!(backend, reading, Hookpoint::Embed, &x);
        Ok(Some(x))
    }

    fn pass(&self, reading: &mut Reading) -> Result<()> {
        let Some(mut x) = self.embed(reading)? else { return Ok(()) };
        for (l, block) in self.blocks.iter().enumerate() {
            match block.forward(&self.backend, l, &x, reading)? {
                Some(next) => x = next,
                None => return Ok(()),
            }
        }
        if let Some(norm) = &self.final_norm {
            reading.take(&self.backend, Hookpoint::FinalNorm, &self.backend.normed(norm, &x)?)?;
        }
        Ok(())
    }

    /// Runs contexts together, each padded to the longest; they were checked by [`check`](Self::check).
    ///
    /// # Errors
    /// Those of the backend and of the token table.
    pub fn run(&self, hookpoints: &[Hookpoint], contexts: &mut [&mut OneContext]) -> Result<()> {
        for context in contexts.iter() {
            let found = (context.counted.len(), context.out.len());
            assert_eq!(found, (context.ids.len(), hookpoints.len()), "a mark for each id, a place for each hookpoint");
        }
        if contexts.iter().all(|context| context.ids.is_empty()) || hookpoints.is_empty() {
            return Ok(());
        }
        // `resid_pre.l` is read as `resid_post.(l - 1)`, so that block l need not be there.
        let wanted = hookpoints.iter().map(|&h| canonical(h)).collect();
        let mut reading = Reading { wanted, contexts, taken: vec![false; hookpoints.len()] };
        self.pass(&mut reading)?;
        assert!(reading.is_done(), "a checked hookpoint is passed on the way");
        Ok(())
    }

    /// Whether a context can be run, and every hookpoint read.
    ///
    /// # Errors
    /// `Input` for an id outside the vocabulary and a context that is too long; `Request` for a hookpoint that is not there.
    pub fn check(&self, ids: &[u32], hookpoints: &[Hookpoint]) -> Result<()> {
        let shape = &self.shape;
        for &hookpoint in hookpoints {
            shape.width(hookpoint).map_err(|e| e.within(format!("model {}", self.name)))?;
            let blocks = blocks_needed(shape, &[hookpoint]);
            if blocks > self.blocks.len() {
                let loaded = self.blocks.len();
                return Err(Error::request(format!(
                    "model {}: {hookpoint} needs {blocks} blocks, {loaded} were loaded; name it when the model is opened",
                    self.name
                )));
            }
            if hookpoint == Hookpoint::FinalNorm && self.final_norm.is_none() {
                return Err(Error::request(format!(
                    "model {}: this {} has no final norm; take resid_post.{}",
                    self.name,
                    shape.family,
                    shape.n_layers - 1
                )));
            }
        }
        if let Some(at) = ids.iter().position(|&id| id as usize >= shape.n_vocab) {
            return Err(Error::input(format!(
                "model {}: token id {} at position {at} is outside the vocabulary of {}; check the tokenizer",
                self.name, ids[at], shape.n_vocab
            )));
        }
        match shape.max_context {
            Some(max) if ids.len() > max => Err(Error::input(format!(
                "model {}: a context of {} tokens is longer than its {max} positions; lower context_length",
                self.name,
                ids.len()
            ))),
            _ => Ok(()),
        }
    }
}

/// Number of blocks that must run to read these hookpoints.
pub fn blocks_needed(shape: &ModelShape, hookpoints: &[Hookpoint]) -> usize {
    let blocks = |hookpoint: &Hookpoint| match *hookpoint {
        Hookpoint::TokenEmbed | Hookpoint::Embed => 0,
        Hookpoint::FinalNorm => shape.n_layers,
        // What enters block l is what block l - 1 gives.
        Hookpoint::ResidPre(l) => l,
        other => other.layer().map_or(0, |l| l + 1),
    };
    hookpoints.iter().map(blocks).max().unwrap_or(0)
}

fn canonical(hookpoint: Hookpoint) -> Hookpoint {
    match hookpoint {
        Hookpoint::ResidPre(0) => Hookpoint::Embed,
        Hookpoint::ResidPre(l) => Hookpoint::ResidPost(l - 1),
        other => other,
    }
}
