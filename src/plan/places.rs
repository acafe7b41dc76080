//! At which hookpoints of a model is something read? Where its SAEs and raw activations are, and where the doctor tries an SAE
//! besides: a block before and after, the normed twin. From there follows how many blocks are loaded. Of a model that does not run here nothing is
//! read but what is compared.

use crate::device::{BackendName, DeviceName, Products, Takes, moment_bytes};
use crate::ids::Hookpoint;
use crate::model::{ModelShape, blocks_needed, running_bytes, weight_bytes, width_of};
use crate::plan::steps::Steps;
use crate::plan::{PlannedModel, PlannedSae, RawPair, RawSite, Space, Tap};
use crate::spec::DoctorRule;
use std::collections::{BTreeMap, BTreeSet};

impl Steps {
    /// Where an SAE is tried: what it reads, what it predicts. The declared place first; none where that cannot be tried, or
    /// the space is raw.
    pub fn places(&self, space: &Space) -> Vec<(Hookpoint, Hookpoint)> {
        let Some(sae) = space.sae() else { return Vec::new() };
        let model = &self.models[space.model()];
        let mut all = places(&model.shape, space.site.hookpoint, sae);
        if model.elsewhere.is_some() {
            // it is asked for what the run reads, and for nothing to try
            all.truncate(1);
            all.retain(|(input, target)| input == target);
        }
        all
    }

    /// Every hookpoint that some SAE of model `k` is tried at, ascending.
    pub fn tried(&self, k: usize) -> Vec<Hookpoint> {
        let spaces = self.spaces.iter().filter(|s| s.model() == k);
        let all: BTreeSet<Hookpoint> =
            spaces.flat_map(|s| self.places(s)).flat_map(|(input, target)| [input, target]).collect();
        all.into_iter().collect()
    }

    /// Every hookpoint that a run reads of model `k`: its own and, where the doctor checks the SAEs first, those it tries.
    pub fn read_at(&self, k: usize) -> Vec<Hookpoint> {
        let mut all = self.models[k].hookpoints.clone();
        if self.spec.check.doctor != DoctorRule::Off {
            all.extend(self.tried(k));
        }
        all
    }

    /// For each hookpoint of model `k` whether its rows stay on the device that made them until their moments are made: those whose
    /// raw activations are compared, where each token is a row.
    pub fn stays_on_device(&self, k: usize) -> Vec<bool> {
        let is_compared = |slot: usize| self.raw_sites.iter().any(|raw| raw.tap == Tap { model: k, slot });
        let is_there = self.models[k].elsewhere.is_none() && self.models[k].computed[0].backend == BackendName::Candle;
        let stays = is_there && !self.spec.compare.is_of_text();
        (0..self.models[k].hookpoints.len()).map(|slot| stays && is_compared(slot)).collect()
    }

    /// Whether the models of a pair are computed on one device. What the dataflow file says decides, so that no bit depends on
    /// which devices a command line gives instead: these are used in turn, and a batch is on one of them.
    pub fn is_on_one_device(&self, p: &RawPair) -> bool {
        let [a, b] = [p.source, p.target].map(|k| &self.spec.models[&self.raw_sites[k].site.model]);
        a.compute().device == b.compute().device
    }

    /// Number of blocks of model `k` that a run loads: those up to the last of [`Steps::read_at`].
    pub fn blocks_loaded(&self, k: usize) -> usize {
        match self.models[k].elsewhere {
            Some(_) => 0,
            None => blocks_needed(&self.models[k].shape, &self.read_at(k)),
        }
    }

    /// What the weights of model `k` take; nothing where it does not run here.
    pub fn weight_bytes(&self, k: usize) -> Takes {
        let PlannedModel { elsewhere, shape, computed, .. } = &self.models[k];
        if elsewhere.is_some() { Takes::default() } else { weight_bytes(shape, computed[0], self.blocks_loaded(k)) }
    }

    /// What it takes to run batches through model `k`, the activations that are read left out; nothing where it does not run here.
    pub fn running_bytes(&self, k: usize) -> Takes {
        let PlannedModel { elsewhere, shape, computed, hookpoints, .. } = &self.models[k];
        let corpus = &self.spec.corpus;
        let batch = [corpus.batch_contexts, corpus.context_length];
        match elsewhere {
            Some(_) => Takes::default(),
            None => running_bytes(shape, computed[0], batch, hookpoints, rayon::current_num_threads() as u64),
        }
    }

    /// What the encoder of an SAE takes where the tensor library multiplies by it, beside the one in f32 here; and what encoding a
    /// batch takes.
    pub fn encoder_bytes(&self, sae: &PlannedSae) -> [Takes; 2] {
        let (d_in, d_sae) = (sae.shape.d_in, sae.shape.d_sae);
        let compute = sae.computed[0];
        match compute.backend {
            BackendName::Kernels => [Takes::default(); 2],
            BackendName::Candle => [
                Products::weight_bytes(compute, d_in, d_sae),
                Products::running_bytes(compute, d_in, d_sae, self.tokens_of_a_batch()),
            ],
        }
    }

    /// What rows of model `k` take that stay where they were made: twice over while they are put together.
    fn staying_bytes(&self, k: usize) -> Takes {
        let PlannedModel { shape, hookpoints, computed, .. } = &self.models[k];
        let staying: Vec<Hookpoint> =
            hookpoints.iter().zip(self.stays_on_device(k)).filter(|(_, stays)| *stays).map(|(&h, _)| h).collect();
        let bytes = 2 * 4 * self.tokens_of_a_batch().saturating_mul(width_of(shape, &staying));
        match computed[0].device {
            DeviceName::Cpu => Takes { here: bytes, device: 0 },
            DeviceName::Cuda(_) => Takes { here: 0, device: bytes },
        }
    }

    /// What the moments of a pair take while a device makes them; nothing where they are made here.
    fn moment_bytes(&self, p: &RawPair) -> Takes {
        let [x, y] = [p.source, p.target].map(|k| &self.raw_sites[k]);
        let stays = |raw: &RawSite| self.stays_on_device(raw.tap.model)[raw.tap.slot];
        if !stays(x) && !stays(y) {
            return Takes::default();
        }
        let width = x.width.max(y.width) as u64;
        let on = if stays(x) { x } else { y };
        moment_bytes(self.models[on.tap.model].computed[0], self.tokens_of_a_batch(), [width; 2])
    }

    /// What raw moments of a batch take in this machine's memory where the tensor library makes them: rows that stay, and pairs at
    /// work on `threads` threads.
    pub(super) fn moments_here(&self, threads: u64) -> u64 {
        let staying: u64 = (0..self.models.len()).map(|k| self.staying_bytes(k).here).sum();
        let pairs = self.raw_pairs.iter().map(|p| self.moment_bytes(p).here).max().unwrap_or(0);
        staying.saturating_add(pairs.saturating_mul(threads.min(self.raw_pairs.len() as u64)))
    }

    /// Devices with memory of their own, and bytes of it at most: the weights of all models and encoders, the rows that stay of all
    /// batches at once, and what runs, one thing at a time. None where this process leaves the encode to others.
    pub fn device_bytes(&self) -> BTreeMap<DeviceName, u64> {
        let of_model = |k: usize| (&self.models[k].computed, [self.weight_bytes(k), self.running_bytes(k)]);
        let encoders = self.saes().map(|(_, sae)| (&sae.computed, self.encoder_bytes(sae)));
        let all = (0..self.models.len()).map(of_model).chain(encoders);
        let at_once = self.spec.encoded_at_once() as u64;
        let staying = |k: usize| {
            let Takes { device, here } = self.staying_bytes(k);
            (&self.models[k].computed, [Takes { device: device.saturating_mul(at_once), here }, Takes::default()])
        };
        let moments = |p: &RawPair| {
            let tap = self.raw_sites[p.source].tap;
            (&self.models[tap.model].computed, [Takes::default(), self.moment_bytes(p)])
        };
        let all = all.chain((0..self.models.len()).map(staying)).chain(self.raw_pairs.iter().map(moments));
        let all = all.filter(|_| !self.spec.here.folds_only);
        let on_each = all.flat_map(|(computed, takes)| computed.iter().map(move |compute| (compute.device, takes)));
        let mut out: BTreeMap<DeviceName, (u64, u64)> = BTreeMap::new();
        for (device, takes) in on_each.filter(|(device, _)| *device != DeviceName::Cpu) {
            let (weights, running) = out.entry(device).or_default();
            *weights += takes[0].device;
            *running = takes[1].device.max(*running);
        }
        out.into_iter().map(|(device, (weights, running))| (device, weights.saturating_add(running))).collect()
    }
}

fn places(shape: &ModelShape, declared: Hookpoint, sae: &PlannedSae) -> Vec<(Hookpoint, Hookpoint)> {
    let fits = |&target: &Hookpoint| shape.width(target).is_ok_and(|w| w == sae.shape.d_out);
    let target = |input: Hookpoint| match sae.output {
        _ if !sae.shape.transcoder => Some(input),
        // as far from its input as the files have it
        Some(output) => match (input.layer(), declared.layer()) {
            (Some(l), Some(from)) => output.shifted(l as isize - from as isize),
            _ => (input == declared).then_some(output),
        },
        None => predicted(input, shape),
    };
    let inputs = std::iter::once(declared).chain(neighbours(declared, shape)).chain(declared.twin());
    let inputs = inputs.filter(|&h| shape.width(h).is_ok_and(|w| w == sae.shape.d_in));
    let mut places: Vec<_> = inputs.filter_map(|input| Some((input, target(input).filter(fits)?))).collect();
    // without the declared reading there is nothing to compare with
    if places.first().is_none_or(|p| p.0 != declared) {
        places.clear();
    }
    places
}

/// A hookpoint one block before and one after, as far as the model has them. Before the first block's output is what enters it.
fn neighbours(hookpoint: Hookpoint, shape: &ModelShape) -> impl Iterator<Item = Hookpoint> {
    let before = match hookpoint {
        Hookpoint::ResidPost(0) => Some(Hookpoint::ResidPre(0)),
        other => other.shifted(-1),
    };
    let after = match hookpoint {
        Hookpoint::Embed => Some(Hookpoint::ResidPost(0)),
        Hookpoint::ResidPre(l) if l + 1 == shape.n_layers => Some(Hookpoint::ResidPost(l)),
        other => other.shifted(1),
    };
    [before, after].into_iter().flatten()
}

/// What a transcoder at `input` predicts whose files do not say it; `None` where that is not known.
fn predicted(input: Hookpoint, shape: &ModelShape) -> Option<Hookpoint> {
    match input {
        Hookpoint::MlpIn(l) if shape.block.has_post_norms() => Some(Hookpoint::MlpOutNormed(l)),
        Hookpoint::MlpIn(l) => Some(Hookpoint::MlpOut(l)),
        _ => None,
    }
}
