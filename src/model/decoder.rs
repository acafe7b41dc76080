//! How are the layers wired? One decoder for every family: embedding, blocks, final norm. Hookpoints are read on the way. Nothing
//! is computed after the last hookpoint that is read, and logits never.

use super::activations::Model;
use super::architecture::Wiring;
use super::layers::pool::write_rows;
use super::layers::{Attention, Embedding, Hidden, Linear, Mlp, Norm, Pooled, device_error, side_by_side, sum};
use super::shape::ModelShape;
use crate::error::{Error, Result};
use crate::ids::Hookpoint;
use candle_core::{Device, Tensor};

/// A loaded model of any family.
pub struct Decoder {
    /// Its sizes.
    pub shape: ModelShape,
    /// Name for messages: the path it was opened by.
    pub name: String,
    /// What enters block 0.
    pub input: Input,
    /// The blocks that were loaded, from 0.
    pub blocks: Vec<Block>,
    /// The norm after the last block; OPT's post-norm models have none.
    pub final_norm: Option<Norm>,
}

/// What enters block 0.
pub struct Input {
    /// Token table, `[n_vocab, d]`.
    pub tokens: Embedding,
    /// Multiplies the token rows (Gemma).
    pub scale: Option<f32>,
    /// From the token table's width to `d_model` (OPT).
    pub project: Option<Linear>,
    /// Learned positions and the row of position 0.
    pub positions: Option<(Embedding, usize)>,
}

/// One block.
pub struct Block {
    /// The attention.
    pub attention: Attention,
    /// The MLP.
    pub mlp: Mlp,
    /// Where the norms are and what is added to what.
    pub wiring: Wiring<Norm>,
}

/// Hookpoints asked for, where what they hold goes, and which were read so far.
struct Reading<'a, 'b> {
    wanted: &'a [Hookpoint],
    /// Positions whose rows are read.
    counted: &'a [bool],
    out: &'a mut [&'b mut [f32]],
    taken: Vec<bool>,
}

impl Reading<'_, '_> {
    /// Writes `x` to every place where `hookpoint` was asked for; true when nothing is left to read.
    fn take(&mut self, hookpoint: Hookpoint, x: &Tensor) -> Result<bool> {
        for ((wanted, out), taken) in self.wanted.iter().zip(self.out.iter_mut()).zip(&mut self.taken) {
            if *wanted == hookpoint {
                write_rows(x, self.counted, out)?;
                *taken = true;
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
}

impl Block {
    /// `x` through the block; `None` once everything asked for has been read.
    fn forward(&self, l: usize, x: &Pooled, reading: &mut Reading) -> Result<Option<Pooled>> {
        macro_rules! read {
            ($hookpoint:expr, $x:expr) => {
                if reading.take($hookpoint, $x)? {
                    return Ok(None);
                }
            };
        }
        let before = match &self.wiring {
            Wiring::Sequential(norm, _) | Wiring::Parallel(norm, _) | Wiring::ParallelShared(norm) => Some(norm),
            Wiring::Sandwich { before_attention, .. } => Some(before_attention),
            Wiring::PostNorms { .. } | Wiring::After(..) => None,
        };
        let normed = before.map(|norm| norm.forward(x).map(Pooled::new)).transpose()?;
        let into_attention = normed.as_ref().unwrap_or(x);
        read!(Hookpoint::AttnIn(l), into_attention);
        let projected = self.attention.project(into_attention)?;
        for (part, place) in [
            (&projected.q, Hookpoint::AttnQ(l)),
            (&projected.k, Hookpoint::AttnK(l)),
            (&projected.v, Hookpoint::AttnV(l)),
        ] {
            if reading.wants(place) {
                read!(place, &side_by_side(part)?);
            }
        }
        let z = Pooled::new(self.attention.heads(projected)?);
        read!(Hookpoint::AttnZ(l), &z);
        // A part whose own output is not read is added to the stream at once, with the same bits.
        let attended = |reading: &mut Reading| -> Result<Option<Pooled>> {
            if !reading.wants(Hookpoint::AttnOut(l)) {
                return Ok(Some(Pooled::new(self.attention.output.forward_add(&z, x)?)));
            }
            let attention = Pooled::new(self.attention.output.forward(&z)?);
            if reading.take(Hookpoint::AttnOut(l), &attention)? {
                return Ok(None);
            }
            Ok(Some(Pooled::new(sum(x, &attention)?)))
        };
        // What the MLP's output is added to, and what enters it where that is another.
        let (base, before_mlp) = match &self.wiring {
            Wiring::Sequential(_, norm) => {
                let Some(base) = attended(reading)? else { return Ok(None) };
                read!(Hookpoint::ResidMid(l), &base);
                let before_mlp = norm.forward(&base)?;
                (base, Some(Pooled::new(before_mlp)))
            }
            Wiring::Parallel(_, norm) => {
                let Some(base) = attended(reading)? else { return Ok(None) };
                (base, Some(Pooled::new(norm.forward(x)?)))
            }
            Wiring::ParallelShared(_) => {
                let Some(base) = attended(reading)? else { return Ok(None) };
                (base, normed)
            }
            Wiring::Sandwich { after_attention, before_mlp, .. } => {
                let attention = Pooled::new(self.attention.output.forward(&z)?);
                read!(Hookpoint::AttnOut(l), &attention);
                let normed = Pooled::new(after_attention.forward(&attention)?);
                read!(Hookpoint::AttnOutNormed(l), &normed);
                let base = Pooled::new(sum(x, &normed)?);
                read!(Hookpoint::ResidMid(l), &base);
                let before_mlp = before_mlp.forward(&base)?;
                (base, Some(Pooled::new(before_mlp)))
            }
            Wiring::PostNorms { after_attention, .. } => {
                let attention = Pooled::new(self.attention.output.forward(&z)?);
                read!(Hookpoint::AttnOut(l), &attention);
                let normed = Pooled::new(after_attention.forward(&attention)?);
                read!(Hookpoint::AttnOutNormed(l), &normed);
                let base = Pooled::new(sum(x, &normed)?);
                read!(Hookpoint::ResidMid(l), &base);
                (base, None)
            }
            Wiring::After(norm, _) => {
                let Some(base) = attended(reading)? else { return Ok(None) };
                (Pooled::new(norm.forward(&base)?), None)
            }
        };
        let into_mlp = before_mlp.as_ref().unwrap_or(&base);
        read!(Hookpoint::MlpIn(l), into_mlp);
        let mlp = |reading: &mut Reading| -> Result<Option<Pooled>> {
            let out = match self.hidden(l, into_mlp, reading)? {
                Some(_) if reading.is_done() => return Ok(None),
                Some(hidden) => self.mlp.down.forward(&hidden)?,
                None => self.mlp.forward(into_mlp)?,
            };
            let out = Pooled::new(out);
            Ok(if reading.take(Hookpoint::MlpOut(l), &out)? { None } else { Some(out) })
        };
        let added = |reading: &mut Reading| -> Result<Option<Pooled>> {
            let inside = [Hookpoint::MlpOut(l)].into_iter().chain(inside_mlp(l)).any(|h| reading.wants(h));
            if !inside {
                return Ok(Some(Pooled::new(self.mlp.forward_add(into_mlp, &base)?)));
            }
            let Some(mlp) = mlp(reading)? else { return Ok(None) };
            Ok(Some(Pooled::new(sum(&base, &mlp)?)))
        };
        let x = match &self.wiring {
            Wiring::Sandwich { after_mlp, .. } | Wiring::PostNorms { after_mlp, .. } => {
                let Some(mlp) = mlp(reading)? else { return Ok(None) };
                let normed = Pooled::new(after_mlp.forward(&mlp)?);
                read!(Hookpoint::MlpOutNormed(l), &normed);
                Pooled::new(sum(&base, &normed)?)
            }
            Wiring::After(_, norm) => {
                let Some(x) = added(reading)? else { return Ok(None) };
                Pooled::new(norm.forward(&x)?)
            }
            Wiring::Sequential(..) | Wiring::Parallel(..) | Wiring::ParallelShared(_) => {
                let Some(x) = added(reading)? else { return Ok(None) };
                x
            }
        };
        read!(Hookpoint::ResidPost(l), &x);
        Ok(Some(x))
    }

    /// What enters the down projection, where a place inside the MLP was asked for: then the MLP goes layer by layer.
    fn hidden(&self, l: usize, x: &Pooled, reading: &mut Reading) -> Result<Option<Pooled>> {
        if !inside_mlp(l).into_iter().any(|place| reading.wants(place)) {
            return Ok(None);
        }
        let mut read = |part: Hidden, x: &Tensor| -> Result<()> {
            let place = match part {
                Hidden::Pre => Hookpoint::MlpPre(l),
                Hidden::Up => Hookpoint::MlpUp(l),
                Hidden::Act => Hookpoint::MlpAct(l),
            };
            reading.take(place, x)?;
            if part == Hidden::Pre && reading.wants(Hookpoint::MlpGateAct(l)) {
                let copy = x.copy().map_err(device_error)?;
                reading.take(Hookpoint::MlpGateAct(l), &Pooled::new(self.mlp.activation.apply(copy)?))?;
            }
            Ok(())
        };
        self.mlp.hidden(x, &mut read).map(|hidden| Some(Pooled::new(hidden)))
    }
}

/// The places between an MLP's input and its output.
fn inside_mlp(l: usize) -> [Hookpoint; 4] {
    [Hookpoint::MlpPre(l), Hookpoint::MlpUp(l), Hookpoint::MlpGateAct(l), Hookpoint::MlpAct(l)]
}

impl Decoder {
    /// What enters block 0; `None` once everything asked for has been read.
    fn embed(&self, ids: &[u32], reading: &mut Reading) -> Result<Option<Pooled>> {
        let ids_as_rows = ids.iter().map(|&id| id as usize);
        let mut x = Pooled::new(self.input.tokens.rows(ids_as_rows, self.input.scale, &Device::Cpu)?);
        if reading.take(Hookpoint::TokenEmbed, &x)? {
            return Ok(None);
        }
        if let Some(project) = &self.input.project {
            x = Pooled::new(project.forward(&x)?);
        }
        if let Some((table, first)) = &self.input.positions {
            let positions = Pooled::new(table.rows(*first..*first + ids.len(), None, &Device::Cpu)?);
            x = Pooled::new(sum(&x, &positions)?);
        }
        Ok(if reading.take(Hookpoint::Embed, &x)? { None } else { Some(x) })
    }

    fn run(&self, ids: &[u32], reading: &mut Reading) -> Result<()> {
        let Some(mut x) = self.embed(ids, reading)? else { return Ok(()) };
        for (l, block) in self.blocks.iter().enumerate() {
            match block.forward(l, &x, reading)? {
                Some(next) => x = next,
                None => return Ok(()),
            }
        }
        if let Some(norm) = &self.final_norm {
            reading.take(Hookpoint::FinalNorm, &Pooled::new(norm.forward(&x)?))?;
        }
        Ok(())
    }

    fn check(&self, ids: &[u32], hookpoints: &[Hookpoint]) -> Result<()> {
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

impl Model for Decoder {
    fn shape(&self) -> &ModelShape {
        &self.shape
    }

    fn write_activations(
        &self,
        ids: &[u32],
        hookpoints: &[Hookpoint],
        counted: &[bool],
        out: &mut [&mut [f32]],
    ) -> Result<()> {
        assert_eq!(
            (counted.len(), out.len()),
            (ids.len(), hookpoints.len()),
            "a mark for each id, a place for each hookpoint"
        );
        self.check(ids, hookpoints)?;
        if ids.is_empty() || hookpoints.is_empty() {
            return Ok(());
        }
        // `resid_pre.l` is read as `resid_post.(l - 1)`, so that block l need not be there.
        let wanted: Vec<Hookpoint> = hookpoints.iter().map(|&h| canonical(h)).collect();
        let mut reading = Reading { wanted: &wanted, counted, out, taken: vec![false; hookpoints.len()] };
        self.run(ids, &mut reading)?;
        assert!(reading.is_done(), "a checked hookpoint is passed on the way");
        Ok(())
    }
}

fn canonical(hookpoint: Hookpoint) -> Hookpoint {
    match hookpoint {
        Hookpoint::ResidPre(0) => Hookpoint::Embed,
        Hookpoint::ResidPre(l) => Hookpoint::ResidPost(l - 1),
        other => other,
    }
}
