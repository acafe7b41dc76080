//! Where is a token? Rotary position embedding (Su et al. 2021, arXiv 2104.09864). Features are rotated in pairs: feature i of
//! the first half of the rotated part with feature i of the second half, or neighbours 2 i and 2 i + 1 (GPT-J). An odd width is
//! rotated together with the next feature, as GPT-NeoX in transformers does.
//!
//! Angles are computed as PyTorch does (frequencies and angles rounded to f32), since at position 2000 the rounding of
//! a frequency is already worth 1e-4 of a turn. Scalings for contexts longer than trained follow transformers 5.24
//! (`modeling_rope_utils.py`): linear, Llama 3.1's, dynamic NTK, YaRN (Peng et al. 2023, arXiv 2309.00071), LongRoPE (Ding
//! et al. 2024, arXiv 2402.13753). Dynamic NTK and LongRoPE also depend on the length of the context.

use std::sync::{Arc, RwLock};

/// How heads are rotated.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Number of features of a head that turn; an odd number takes one more along.
    pub d_rotated: usize,
    /// How the frequencies are stretched for contexts longer than trained.
    pub scaling: Scaling,
}

/// How frequencies are stretched.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// All divided by the factor.
    Linear(f64),
    /// Each divided by its own factor (GGUF files).
    Divided(Arc<[f32]>),
    /// Long waves divided by the factor, short ones kept, blended between (Llama 3.1).
    Llama3 {
        /// Divides the long waves.
        factor: f64,
        /// Waves longer than `original_context / low` are long.
        low: f64,
        /// Waves shorter than `original_context / high` are short.
        high: f64,
        /// Context length before the stretch.
        original_context: f64,
    },
    /// In contexts of n > `max_positions` tokens the base grows with n (dynamic NTK).
    Dynamic {
        /// How fast.
        factor: f64,
        /// Contexts up to this length are not stretched.
        max_positions: f64,
    },
    /// Fast turns kept, slow ones divided by the factor, blended between (YaRN).
    Yarn {
        /// Divides the slow turns.
        factor: f64,
        /// Context length before the stretch.
        original_context: f64,
        /// Pairs that turn more often than this over `original_context` are kept.
        fast: f64,
        /// Pairs that turn less often than this are divided.
        slow: f64,
        /// Whether the ends of the blend are rounded outwards to whole pairs.
        truncate: bool,
        /// Multiplies cosines and sines.
        attention: f64,
    },
    /// Each divided by its own factor, by another set in contexts longer than `original_context` (LongRoPE).
    Long {
        /// Factors of short contexts, `[n_pairs]`.
        short: Arc<[f32]>,
        /// Factors of longer ones, `[n_pairs]`.
        long: Arc<[f32]>,
        /// Context length before the stretch.
        original_context: f64,
        /// Multiplies cosines and sines.
        attention: f64,
    },
}

impl Rope {
    /// Number of pairs that turn.
    pub fn n_pairs(&self) -> usize {
        self.d_rotated.div_ceil(2)
    }

    /// The longest context that a model with `max_positions` positions is meant for.
    pub fn longest(&self, max_positions: usize) -> usize {
        let stretched = match &self.scaling {
            Scaling::Linear(factor) | Scaling::Dynamic { factor, .. } => max_positions as f64 * factor,
            Scaling::Yarn { factor, original_context, .. } => original_context * factor,
            Scaling::None | Scaling::Divided(_) | Scaling::Llama3 { .. } | Scaling::Long { .. } => 0.0,
        };
        max_positions.max(stretched as usize)
    }

    /// What cosines and sines are multiplied by.
    pub fn attention(&self) -> f32 {
        match &self.scaling {
            Scaling::Yarn { attention, .. } | Scaling::Long { attention, .. } => *attention as f32,
            _ => 1.0,
        }
    }

    /// `theta^(2 i / d)` of pair i.
    fn periods(&self, theta: f32) -> impl Iterator<Item = f32> {
        let d = self.d_rotated as f32;
        (0..self.n_pairs()).map(move |i| theta.powf((2 * i) as f32 / d))
    }

    /// Frequencies of the pairs in a context of `n_tokens`, radians per position.
    pub fn frequencies(&self, n_tokens: usize) -> Vec<f32> {
        let plain = self.periods(self.theta as f32).map(|period| 1.0 / period);
        let divided = |factors: &[f32]| -> Vec<f32> {
            self.periods(self.theta as f32).zip(factors).map(|(period, factor)| 1.0 / (factor * period)).collect()
        };
        match &self.scaling {
            Scaling::None => plain.collect(),
            Scaling::Linear(factor) => plain.map(|f| f / *factor as f32).collect(),
            Scaling::Divided(factors) => plain.zip(factors.iter()).map(|(f, factor)| f / factor).collect(),
            &Scaling::Llama3 { factor, low, high, original_context } => {
                plain.map(|f| llama3(f, factor, low, high, original_context)).collect()
            }
            &Scaling::Dynamic { factor, max_positions } => {
                let n = (n_tokens as f64).max(max_positions);
                let d = self.d_rotated as f64;
                let grown = (factor * n / max_positions - (factor - 1.0)).powf(d / (d - 2.0));
                self.periods((self.theta * grown) as f32).map(|period| 1.0 / period).collect()
            }
            &Scaling::Yarn { factor, original_context, fast, slow, truncate, .. } => {
                let (first, last) = self.blend(original_context, fast, slow, truncate);
                let blended = |(i, period): (usize, f32)| {
                    let slow = ((i as f32 - first) / (last - first)).clamp(0.0, 1.0);
                    let kept = 1.0 - slow;
                    1.0 / (factor as f32 * period) * (1.0 - kept) + 1.0 / period * kept
                };
                self.periods(self.theta as f32).enumerate().map(blended).collect()
            }
            Scaling::Long { short, long, original_context, .. } => {
                divided(if n_tokens as f64 > *original_context { long } else { short })
            }
        }
    }

    /// Between which pairs YaRN blends: the last that is kept, the first that is divided.
    fn blend(&self, original_context: f64, fast: f64, slow: f64, truncate: bool) -> (f32, f32) {
        let d = self.d_rotated as f64;
        let pair =
            |turns: f64| d * (original_context / (turns * 2.0 * std::f64::consts::PI)).ln() / (2.0 * self.theta.ln());
        let (mut first, mut last) = (pair(fast), pair(slow));
        if truncate {
            (first, last) = (first.floor(), last.ceil());
        }
        (first, last) = (first.max(0.0), last.min(d - 1.0));
        if first == last {
            last += 0.001; // as in the original code, against a division by 0
        }
        (first as f32, last as f32)
    }

    /// Whether a context of `n_tokens` has the same frequencies as a context of one token.
    pub fn is_short(&self, n_tokens: usize) -> bool {
        match &self.scaling {
            Scaling::Dynamic { max_positions: most, .. } | Scaling::Long { original_context: most, .. } => {
                n_tokens as f64 <= *most
            }
            _ => true,
        }
    }
}

fn llama3(frequency: f32, factor: f64, low: f64, high: f64, original_context: f64) -> f32 {
    let frequency = f64::from(frequency);
    let wave = 2.0 * std::f64::consts::PI / frequency;
    let stretched = if wave > original_context / low {
        frequency / factor
    } else if wave < original_context / high {
        frequency
    } else {
        let smooth = (original_context / wave - low) / (high - low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    };
    stretched as f32
}

/// A rotation, with the cosines and sines that it needed so far.
#[derive(Debug)]
pub struct Rotary {
    rope: Rope,
    /// Whether features 2 i and 2 i + 1 turn together.
    neighbours: bool,
    /// Of contexts whose length changes nothing: as many positions as were ever needed; grows by doubling, values never
    /// change.
    turns: RwLock<Arc<Turns>>,
    /// Of the last longer context, where lengths matter.
    longer: RwLock<Arc<Turns>>,
}

/// Cosines and sines of positions.
#[derive(Debug, Default)]
pub struct Turns {
    n_positions: usize,
    /// `[n_positions, n_pairs]`.
    pub cos: Vec<f32>,
    /// `[n_positions, n_pairs]`.
    pub sin: Vec<f32>,
}

impl Turns {
    fn new(n_positions: usize, frequencies: &[f32], attention: f32) -> Arc<Self> {
        let angles: Vec<f32> = (0..n_positions).flat_map(|p| frequencies.iter().map(move |f| p as f32 * f)).collect();
        let times = |value: f32| if attention == 1.0 { value } else { value * attention };
        Arc::new(Turns {
            n_positions,
            cos: angles.iter().map(|a| times(a.cos())).collect(),
            sin: angles.iter().map(|a| times(a.sin())).collect(),
        })
    }
}

impl Rotary {
    /// For heads rotated by `rope`.
    pub fn new(rope: &Rope) -> Self {
        Rotary { rope: rope.clone(), neighbours: false, turns: RwLock::default(), longer: RwLock::default() }
    }

    /// The same for pairs of neighbouring features instead of pairs from two halves.
    #[must_use]
    pub fn of_neighbours(self) -> Self {
        Rotary { neighbours: true, ..self }
    }

    /// Whether neighbouring features turn together.
    pub fn is_of_neighbours(&self) -> bool {
        self.neighbours
    }

    /// How heads are rotated.
    pub fn rope(&self) -> &Rope {
        &self.rope
    }

    /// Cosines and sines of a context of `n_tokens`: those of its positions, and of more behind them.
    pub fn turns(&self, n_tokens: usize) -> Arc<Turns> {
        let short = self.rope.is_short(n_tokens);
        let place = if short { &self.turns } else { &self.longer };
        let have = place.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if have.n_positions == n_tokens || (short && have.n_positions > n_tokens) {
            return have;
        }
        let n_positions = if short { n_tokens.next_power_of_two() } else { n_tokens };
        let frequencies = self.rope.frequencies(if short { 1 } else { n_tokens });
        let made = Turns::new(n_positions, &frequencies, self.rope.attention());
        let mut held = place.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !short || held.n_positions < n_positions {
            *held = made.clone();
        }
        made
    }
}
