//! Which latents of a tile of products stay in the running? The scans behind [`Sae::encode`](super::Sae::encode).
//!
//! A row keeps a [`RowSelection`]: candidates as sortable keys, and the `floor` that a new candidate has to exceed. Scans add the
//! bias and compare 32 latents at a time. Latents are looked at singly only when one of the 32 passes, so most of a tile costs
//! one vectorised comparison. Among equal values the lowest latent is kept.

// `!(a <= b)` is meant: a product that overflowed to NaN must be seen, not dropped.
#![allow(clippy::neg_cmp_op_on_partial_ord)]

/// Latents compared at once: two vectors of 16 or four of 8.
const LANES: usize = 32;

/// A candidate as one integer: magnitude (31 bits), latent inverted (32 bits), sign. Descending order is descending
/// magnitude, then ascending latent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RankKey(u64);

impl RankKey {
    #[inline(always)]
    fn new(latent: u32, value: f32) -> Self {
        let bits = value.to_bits();
        RankKey((u64::from(bits & 0x7fff_ffff) << 33) | (u64::from(!latent) << 1) | u64::from(bits >> 31))
    }

    pub fn latent(self) -> u32 {
        !((self.0 >> 1) as u32)
    }

    pub fn value(self) -> f32 {
        f32::from_bits((self.0 >> 33) as u32 | ((self.0 as u32 & 1) << 31))
    }

    fn magnitude(self) -> f32 {
        f32::from_bits((self.0 >> 33) as u32)
    }
}

/// The candidates of one row so far.
#[derive(Clone, Debug, Default)]
pub(super) struct RowSelection {
    keys: Vec<RankKey>,
    /// What a candidate has to exceed (top-k: the k-th best at the last pruning; group maximum: the best of the group).
    floor: f32,
    /// The best of the group that is being scanned.
    best: Option<RankKey>,
    /// A latent whose value was not finite.
    broken: Option<u32>,
}

impl RowSelection {
    /// Ready for another row.
    pub fn clear(&mut self) {
        self.keys.clear();
        (self.floor, self.best, self.broken) = (0.0, None, None);
    }

    /// A latent whose value was not finite, if there was one.
    pub fn broken(&self) -> Option<u32> {
        self.broken
    }

    /// Everything that passed, ascending by latent.
    pub fn all(&self) -> &[RankKey] {
        &self.keys
    }

    /// The k best, ascending by latent.
    pub fn best(&mut self, k: usize) -> &[RankKey] {
        self.prune(k);
        self.keys.sort_unstable_by_key(|key| key.latent());
        &self.keys
    }

    #[inline(always)]
    fn push(&mut self, latent: u32, value: f32) {
        if value.is_finite() {
            self.keys.push(RankKey::new(latent, value));
        } else {
            self.broken = Some(latent);
        }
    }

    /// What a candidate has to exceed.
    pub fn floor(&self) -> f32 {
        self.floor
    }

    /// Keeps `value` where it exceeds the latent's own `floor`. Latents come ascending.
    #[inline(always)]
    pub fn offer(&mut self, latent: u32, value: f32, floor: f32) {
        if !(value <= floor) {
            self.push(latent, value);
        }
    }

    /// Keeps `value` when it may be among the k largest. Latents come in ascending order. Candidates are pruned earlier than in
    /// the scan of a whole tile, because here a value above the floor costs more than the pruning.
    #[inline(always)]
    pub fn offer_to_best(&mut self, k: usize, latent: u32, value: f32) {
        if !(value <= self.floor) {
            self.push(latent, value);
            if self.keys.len() >= k + k / 4 + 8 {
                self.prune(k);
            }
        }
    }

    /// Lets go of all but the k largest, which a new one has then to exceed.
    pub fn prune(&mut self, k: usize) {
        if self.keys.len() > k {
            self.keys.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
            self.keys.truncate(k);
        }
        if self.keys.len() == k {
            self.floor = self.keys.iter().min().map_or(0.0, |key| key.magnitude());
        }
    }

    /// Keeps `products + bias` that exceed their latent's own `floor`. `first` is the latent of `products[0]`.
    #[inline(always)]
    pub fn above(&mut self, first: usize, products: &[f32], bias: &[f32], floor: &[f32]) {
        let (lanes, rest) = products.as_chunks::<LANES>();
        let (bias_lanes, bias_rest) = bias.as_chunks::<LANES>();
        let (floor_lanes, floor_rest) = floor.as_chunks::<LANES>();
        let mut latent = first as u32;
        for ((lanes, bias), floor) in lanes.iter().zip(bias_lanes).zip(floor_lanes) {
            let mut any = false;
            for i in 0..LANES {
                any |= !(lanes[i] + bias[i] <= floor[i]);
            }
            if any {
                self.above_singly(latent, lanes, bias, floor);
            }
            latent += LANES as u32;
        }
        self.above_singly(latent, rest, bias_rest, floor_rest);
    }

    /// At most [`LANES`] latents. Written without a branch, as half of a dense row passes.
    #[inline(always)]
    fn above_singly(&mut self, first: u32, products: &[f32], bias: &[f32], floor: &[f32]) {
        let (mut passed, mut n, mut finite) = ([RankKey(0); LANES], 0, true);
        for (latent, ((product, bias), floor)) in (first..).zip(products.iter().zip(bias).zip(floor)) {
            let value = product + bias;
            let pass = !(value <= *floor);
            passed[n % LANES] = RankKey::new(latent, value);
            finite &= !pass | value.is_finite();
            n += usize::from(pass);
        }
        self.keys.extend_from_slice(&passed[..n]);
        if !finite {
            self.broken =
                self.keys[self.keys.len() - n..].iter().find(|key| !key.value().is_finite()).map(|key| key.latent());
        }
    }

    /// Keeps `products * scale + bias` where it and `products + gate` are positive.
    #[inline(always)]
    pub fn gated(&mut self, first: usize, products: &[f32], bias: &[f32], scale: &[f32], gate: &[f32]) {
        for (i, product) in products.iter().enumerate() {
            let value = product * scale[i] + bias[i];
            if !(product + gate[i] <= 0.0) && !(value <= 0.0) {
                self.push((first + i) as u32, value);
            }
        }
    }

    /// Keeps what may be among the k largest `products + bias` (with `SIGNED`: largest magnitudes).
    #[inline(always)]
    pub fn top_k<const SIGNED: bool>(&mut self, k: usize, first: usize, products: &[f32], bias: &[f32]) {
        // Pruning costs about a pass over the candidates: done when they are twice what is kept, it stays a constant
        // share of the pushes.
        let limit = 2 * k + LANES;
        self.visit::<SIGNED>(first, products, bias, |pick, latent, value| {
            pick.push(latent, value);
            if pick.keys.len() >= limit {
                pick.prune(k);
            }
        });
    }

    /// Keeps the largest positive `products + bias` of each run of `group` latents.
    #[inline(always)]
    pub fn group_max(&mut self, group: usize, first: usize, products: &[f32], bias: &[f32]) {
        let (mut at, end) = (first, first + products.len());
        while at < end {
            let stop = ((at / group + 1) * group).min(end);
            let span = at - first..stop - first;
            self.visit::<false>(at, &products[span.clone()], &bias[span], |pick, latent, value| {
                if value.is_finite() {
                    pick.best = Some(RankKey::new(latent, value));
                    pick.floor = value;
                } else {
                    pick.broken = Some(latent);
                }
            });
            if stop.is_multiple_of(group) {
                self.keys.extend(self.best.take());
                self.floor = 0.0;
            }
            at = stop;
        }
    }

    /// Shows `take` every value above the floor of that moment.
    #[inline(always)]
    fn visit<const SIGNED: bool>(
        &mut self,
        first: usize,
        products: &[f32],
        bias: &[f32],
        take: impl Fn(&mut Self, u32, f32) + Copy,
    ) {
        let judged = |value: f32| if SIGNED { value.abs() } else { value };
        let (lanes, rest) = products.as_chunks::<LANES>();
        let (bias_lanes, bias_rest) = bias.as_chunks::<LANES>();
        let mut latent = first as u32;
        for (lanes, bias) in lanes.iter().zip(bias_lanes) {
            let floor = self.floor;
            let mut any = false;
            for i in 0..LANES {
                any |= !(judged(lanes[i] + bias[i]) <= floor);
            }
            if any {
                self.visit_singly::<SIGNED>(latent, lanes, bias, take);
            }
            latent += LANES as u32;
        }
        self.visit_singly::<SIGNED>(latent, rest, bias_rest, take);
    }

    #[inline(always)]
    fn visit_singly<const SIGNED: bool>(
        &mut self,
        first: u32,
        products: &[f32],
        bias: &[f32],
        take: impl Fn(&mut Self, u32, f32),
    ) {
        for (latent, (product, bias)) in (first..).zip(products.iter().zip(bias)) {
            let value = product + bias;
            if !(if SIGNED { value.abs() } else { value } <= self.floor) {
                take(self, latent, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_give_back_what_went_in_and_order_by_magnitude_then_latent() {
        for (latent, value) in [(0, 1.0f32), (u32::MAX, -2.5), (7, f32::MIN_POSITIVE), (65_535, -0.25)] {
            let key = RankKey::new(latent, value);
            assert_eq!((key.latent(), key.value()), (latent, value));
        }
        assert!(RankKey::new(9, -3.0) > RankKey::new(1, 2.0) && RankKey::new(1, 2.0) > RankKey::new(2, 2.0));
    }

    #[test]
    fn ties_keep_the_lowest_latents_however_often_candidates_are_pruned() {
        for k in [1, 3, 40] {
            let products: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 11) as f32).collect();
            let mut pick = RowSelection::default();
            for (t, tile) in products.chunks(77).enumerate() {
                pick.top_k::<false>(k, t * 77, tile, &vec![0.0; tile.len()]);
            }
            let found: Vec<u32> = pick.best(k).iter().map(|key| key.latent()).collect();
            let mut plain: Vec<u32> = (0..1000).collect();
            plain.sort_by(|&a, &b| products[b as usize].total_cmp(&products[a as usize]).then(a.cmp(&b)));
            plain.truncate(k);
            plain.sort_unstable();
            assert_eq!(found, plain);
        }
    }

    #[test]
    fn a_value_that_is_not_finite_is_reported_not_dropped() {
        for value in [f32::NAN, f32::INFINITY] {
            let mut products = vec![0.5; 100];
            products[41] = value;
            let zeros = vec![0.0; 100];
            let mut picks = vec![RowSelection::default(); 4];
            picks[0].above(0, &products, &zeros, &zeros);
            picks[1].top_k::<false>(3, 0, &products, &zeros);
            picks[2].group_max(50, 0, &products, &zeros);
            picks[3].gated(0, &products, &zeros, &vec![1.0; 100], &zeros);
            assert!(picks.iter().all(|pick| pick.broken() == Some(41)));
        }
    }
}
