//! Where does randomness come from? From named streams of the run's seed, and from nowhere else.
//!
//! A stream is the output of BLAKE3 as an extendable function, keyed by
//! `derive_key("cognate random stream 1", seed_le64 || index_le64 || name)`, read as little-endian u64s. The same (seed,
//! name, index) gives the same numbers on every machine and in every release; another construction would need another
//! number in the context string. Streams of different names or indices are independent, so the r-th permutation is drawn
//! without drawing the ones before it, on any thread.

use blake3::OutputReader;

/// Version of the construction; part of the key.
const CONTEXT: &str = "cognate random stream 1";
const BUFFER_BYTES: usize = 512;

/// An endless stream of random numbers.
pub struct Stream {
    source: OutputReader,
    buffer: [u8; BUFFER_BYTES],
    at: usize,
}

impl Stream {
    /// Stream number `index` of the streams called `name` of a run with this `seed`.
    pub fn new(seed: u64, name: &str, index: u64) -> Self {
        let mut material = Vec::with_capacity(16 + name.len());
        material.extend_from_slice(&seed.to_le_bytes());
        material.extend_from_slice(&index.to_le_bytes());
        material.extend_from_slice(name.as_bytes());
        let key = blake3::derive_key(CONTEXT, &material);
        Stream { source: blake3::Hasher::new_keyed(&key).finalize_xof(), buffer: [0; BUFFER_BYTES], at: BUFFER_BYTES }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        if self.at == BUFFER_BYTES {
            self.source.fill(&mut self.buffer);
            self.at = 0;
        }
        let bytes = self.buffer[self.at..self.at + 8].try_into().expect("eight bytes of the buffer");
        self.at += 8;
        u64::from_le_bytes(bytes)
    }

    /// Uniform in `0..n` without bias (Lemire 2019, arXiv 1805.10941: multiply, reject the short remainder).
    ///
    /// # Panics
    /// When `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "nothing is below 0");
        let short = n.wrapping_neg() % n;
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(n);
            if (wide as u64) >= short {
                return (wide >> 64) as u64;
            }
        }
    }

    /// Uniform in `[0, 1)`, a multiple of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box-Muller, the cosine half).
    pub fn gaussian(&mut self) -> f64 {
        let (u, v) = (1.0 - self.unit(), self.unit());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// A uniform permutation of `0..n` (Fisher-Yates, from the last place down).
    ///
    /// # Panics
    /// When `n` is over 2^32 - 1.
    pub fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..u32::try_from(n).expect("rows are counted in u32")).collect();
        self.shuffle(&mut order);
        order
    }

    /// Uniform rearrangement in place (Fisher-Yates).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            let j = self.below(i as u64 + 1) as usize;
            values.swap(i, j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_never_change() {
        let mut stream = Stream::new(0, "golden", 0);
        let first: Vec<u64> = (0..3).map(|_| stream.next_u64()).collect();
        // From another implementation of BLAKE3 (the Python package): derive_key, then the keyed XOF of no input.
        assert_eq!(first, GOLDEN, "{first:#x?}");
        assert_eq!(Stream::new(7, "golden", 3).permutation(8), GOLDEN_ORDER);
    }
    const GOLDEN: [u64; 3] = [0x040c_c4c9_9b66_0ace, 0xa804_f21e_b27b_b6a1, 0x3cdc_22cf_9608_8fe2];
    const GOLDEN_ORDER: [u32; 8] = [4, 2, 6, 3, 7, 0, 5, 1];

    #[test]
    fn names_and_indices_give_other_streams() {
        let draw = |seed, name, index| Stream::new(seed, name, index).next_u64();
        let all = [draw(0, "a", 0), draw(1, "a", 0), draw(0, "b", 0), draw(0, "a", 1)];
        for i in 0..4 {
            assert!((0..i).all(|j| all[i] != all[j]));
        }
    }

    #[test]
    fn permutations_are_uniform() {
        // 24 orders of 4, 24000 draws: chi-square with 23 degrees of freedom stays below 49.7 (p = 0.001).
        let mut counts = std::collections::BTreeMap::new();
        for r in 0..24_000 {
            *counts.entry(Stream::new(11, "uniform", r).permutation(4)).or_insert(0u32) += 1;
        }
        let chi: f64 = counts.values().map(|&c| (f64::from(c) - 1000.0).powi(2) / 1000.0).sum();
        assert!(counts.len() == 24 && chi < 49.7, "chi-square {chi} over {} orders", counts.len());
    }
}
