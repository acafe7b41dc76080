//! Which partners are the best so far, of many latents?

/// The `keep` best of each of `n` latents, as flat lists: correlation and partner, best first, ties to the lower partner.
pub struct Best {
    keep: usize,
    r: Vec<f32>,
    partner: Vec<u32>,
    /// Last value of each list: a lower value changes nothing; -∞ while the list is not full.
    pub floor: Vec<f32>,
}

impl Best {
    /// Bytes of lists of `n` latents.
    pub fn bytes(n: usize, keep: usize) -> usize {
        n * (8 * keep + 4)
    }

    /// Empty lists.
    pub fn new(n: usize, keep: usize) -> Self {
        let none = f32::NEG_INFINITY;
        Best { keep, r: vec![none; n * keep], partner: vec![u32::MAX; n * keep], floor: vec![none; n] }
    }

    /// Takes `partner` into list `i`, if it is one of the best.
    #[inline]
    pub fn offer(&mut self, i: usize, r: f32, partner: u32) {
        let (from, to) = (i * self.keep, (i + 1) * self.keep);
        let precedes = |a: f32, p: u32| a > r || (a == r && p < partner);
        // NaN: a latent without variance
        if r < self.r[to - 1] || r.is_nan() || precedes(self.r[to - 1], self.partner[to - 1]) {
            return;
        }
        let mut at = to - 1;
        while at > from && !precedes(self.r[at - 1], self.partner[at - 1]) {
            (self.r[at], self.partner[at]) = (self.r[at - 1], self.partner[at - 1]);
            at -= 1;
        }
        (self.r[at], self.partner[at]) = (r, partner);
        self.floor[i] = self.r[to - 1];
    }

    /// List `i`, best first.
    pub fn list(&self, i: usize) -> impl Iterator<Item = (f32, u32)> + '_ {
        let span = i * self.keep..(i + 1) * self.keep;
        self.r[span.clone()].iter().copied().zip(self.partner[span].iter().copied()).filter(|(_, p)| *p != u32::MAX)
    }

    /// Takes what other lists of the same latents hold.
    pub fn merge(&mut self, other: &Best) {
        for i in 0..self.r.len() / self.keep {
            for (r, partner) in other.list(i) {
                self.offer(i, r, partner);
            }
        }
    }
}
