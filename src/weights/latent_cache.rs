//! What is in a file of a latent cache, as delphi reads it? Where which latents of an SAE fired in a set of contexts, and how strongly.
//!
//! A cache of one SAE is a folder of splits, each a safetensors file of some latents in a row, named by the first and the last of them:
//! `locations` `[n_entries, 3]` (sequence, position, latent less the first; U16, or U32 where a number needs it), `activations`
//! `[n_entries]` F16, and `tokens` `[n_sequences, length]` I64, the same in every split.

use crate::error::{Error, Result};
use half::f16;
use safetensors::tensor::{Dtype, TensorView};

/// Activations up to this have no entry, as in delphi's own caches.
const SMALLEST: f32 = 1e-5;

/// A latent that fired at a position of a sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Firing {
    /// Number of the sequence among the sampled ones.
    pub sequence: u32,
    /// Position in it, from 0.
    pub position: u32,
    /// Latent of the SAE.
    pub latent: u32,
    /// Its activation.
    pub activation: f32,
}

impl Firing {
    /// Whether it has an entry in a cache.
    pub fn counts(&self) -> bool {
        self.activation.abs() > SMALLEST
    }
}

/// First and last latent of each split of an SAE of `width` latents: at most `n` of about the same width, together all latents, and each with a
/// latent of `present` in it, since a reader cannot take an empty one. None where `present` is empty. `present` is ascending.
pub fn splits(width: u32, n: u32, present: &[u32]) -> Vec<(u32, u32)> {
    let mut out: Vec<(u32, u32)> = Vec::new();
    let mut first = 0;
    for k in 1..=n {
        let end = (u64::from(width) * u64::from(k) / u64::from(n)) as u32;
        let has = |from: u32, to: u32| present.iter().any(|&l| (from..to).contains(&l));
        if has(first, end) {
            out.push((first, end - 1));
            first = end;
        }
    }
    // latents behind the last one that is present
    if let Some(last) = out.last_mut() {
        last.1 = width - 1;
    }
    out
}

/// The file of the latents from `first` on: `firings` of these alone, by sequence, position and latent, and the `sequences` that they are in,
/// all of one length.
///
/// # Errors
/// `Input` for an activation that F16 cannot hold.
pub fn split_file(first: u32, firings: &[Firing], sequences: &[Vec<u32>]) -> Result<Vec<u8>> {
    let (mut places, mut activations) = (Vec::with_capacity(3 * firings.len()), Vec::with_capacity(2 * firings.len()));
    for f in firings {
        let stored = f16::from_f32(f.activation);
        if !stored.is_finite() {
            return Err(Error::input(format!(
                "latent {} has an activation of {}, and this cache holds up to {}; it cannot be written in this format",
                f.latent,
                f.activation,
                f16::MAX
            )));
        }
        places.extend([f.sequence, f.position, f.latent - first]);
        activations.extend(stored.to_le_bytes());
    }
    let wide = places.iter().any(|&n| n > u32::from(u16::MAX));
    let locations: Vec<u8> = match wide {
        true => places.iter().flat_map(|n| n.to_le_bytes()).collect(),
        false => places.iter().flat_map(|&n| (n as u16).to_le_bytes()).collect(),
    };
    let tokens: Vec<u8> = sequences.iter().flatten().flat_map(|&id| i64::from(id).to_le_bytes()).collect();
    let length = sequences.first().map_or(0, Vec::len);
    let view = |dtype, shape: Vec<usize>, bytes| {
        TensorView::new(dtype, shape, bytes).expect("as many bytes as its shape says")
    };
    let places_type = if wide { Dtype::U32 } else { Dtype::U16 };
    let tensors = [
        ("locations", view(places_type, vec![firings.len(), 3], &locations)),
        ("activations", view(Dtype::F16, vec![firings.len()], &activations)),
        ("tokens", view(Dtype::I64, vec![sequences.len(), length], &tokens)),
    ];
    Ok(safetensors::serialize(tensors, None).expect("names differ"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    #[test]
    fn splits_cover_all_latents_and_none_is_empty() {
        assert_eq!(splits(10, 5, &[0, 2, 4, 6, 8]), [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]);
        assert_eq!(
            splits(1024, 5, &[0, 300, 500, 700, 1000]),
            [(0, 203), (204, 408), (409, 613), (614, 818), (819, 1023)]
        );
        // an empty split goes to the next one that is not, the last ones to the one before
        assert_eq!(splits(10, 5, &[5]), [(0, 9)]);
        assert_eq!(splits(10, 5, &[3, 9]), [(0, 3), (4, 9)]);
        assert_eq!(splits(3, 5, &[0, 1, 2]), [(0, 0), (1, 1), (2, 2)]);
        assert_eq!(splits(10, 5, &[]), []);
    }

    #[test]
    fn a_file_holds_what_it_is_given_and_takes_wider_numbers_where_one_needs_them() {
        let firing = |sequence, position, latent, activation| Firing { sequence, position, latent, activation };
        let sequences = [vec![1, 70_000, 3], vec![4, 5, 6]];
        let small = [firing(0, 2, 70_007, 0.5), firing(1, 0, 70_003, 65_504.0)];
        let bytes = split_file(70_000, &small, &sequences).unwrap();
        let read = SafeTensors::deserialize(&bytes).unwrap();
        let locations = read.tensor("locations").unwrap();
        assert_eq!((locations.dtype(), locations.shape()), (Dtype::U16, [2, 3].as_slice()));
        assert_eq!(locations.data(), [0u16, 2, 7, 1, 0, 3].map(u16::to_le_bytes).concat());
        assert_eq!(read.tensor("activations").unwrap().data(), [0x3800u16, 0x7bff].map(u16::to_le_bytes).concat());
        let tokens = read.tensor("tokens").unwrap();
        assert_eq!((tokens.dtype(), tokens.shape()), (Dtype::I64, [2, 3].as_slice()));
        assert_eq!(tokens.data(), [1i64, 70_000, 3, 4, 5, 6].map(i64::to_le_bytes).concat());

        let bytes = split_file(0, &small, &sequences).unwrap();
        assert_eq!(SafeTensors::deserialize(&bytes).unwrap().tensor("locations").unwrap().dtype(), Dtype::U32);
        let refused = split_file(0, &[firing(0, 0, 9, 1e5)], &sequences).unwrap_err().to_string();
        assert!(refused.contains("latent 9") && refused.contains("100000") && refused.contains("65504"), "{refused}");
        assert!(firing(0, 0, 0, 1.1e-5).counts() && !firing(0, 0, 0, 1e-5).counts());
    }
}
