//! How does a device choose the latents of a row? It is told a rule, and gives back what the rule keeps.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "cuda")]
pub(super) use cuda::chosen;

/// A choice of latents by products `z: [n_rows, d]`, as numbers for the kernels (`choose.cu`).
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// The rule's number there.
    pub rule: u32,
    /// The k of a top-k, the number of groups; else 0.
    pub k: u32,
    /// a, b and c there: `[d]` each, or empty where the rule has none.
    pub vectors: [&'a [f32]; 3],
}

impl<'a> Choice<'a> {
    /// `z + bias` above `floor >= 0`.
    pub fn above(bias: &'a [f32], floor: &'a [f32]) -> Self {
        Choice { rule: 0, k: 0, vectors: [bias, floor, &[]] }
    }

    /// `z * scale + bias`, where it and `z + gate` are positive.
    pub fn gated(bias: &'a [f32], scale: &'a [f32], gate: &'a [f32]) -> Self {
        Choice { rule: 1, k: 0, vectors: [bias, scale, gate] }
    }

    /// The k largest positive `z + bias`, or with `signed` the k largest magnitudes; of equal ones the lowest latents.
    pub fn top(bias: &'a [f32], k: usize, signed: bool) -> Self {
        Choice { rule: if signed { 3 } else { 2 }, k: u32::try_from(k).unwrap_or(u32::MAX), vectors: [bias, &[], &[]] }
    }

    /// The largest positive `z + bias` of each of `groups` runs of latents of equal length.
    pub fn group_max(bias: &'a [f32], groups: usize) -> Self {
        Choice { rule: 4, k: u32::try_from(groups).unwrap_or(u32::MAX), vectors: [bias, &[], &[]] }
    }
}

/// What was kept of some rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chosen {
    /// Of each row: how many, and a latent whose value was not finite.
    pub rows: Vec<(usize, Option<u32>)>,
    /// Row behind row, ascending in each.
    pub latents: Vec<u32>,
    /// `[latents.len()]`, the values that were compared.
    pub values: Vec<f32>,
}

#[cfg(any(test, feature = "cuda"))]
impl Chosen {
    /// What a row's four numbers of `find` mean.
    pub(crate) fn rows_of(found: &[u32]) -> Vec<(usize, Option<u32>)> {
        let row = |f: &[u32; 4]| (f[0] as usize, (f[3] != u32::MAX).then_some(f[3]));
        found.as_chunks::<4>().0.iter().map(row).collect()
    }
}
