//! Where is a token? Its queries and keys are turned by its position, in place.

use super::strides::Strides;
use crate::linalg::vectorised;
use crate::model::pool::Rows;
use crate::model::rotary::Rotary;

/// Turns `n_heads` heads of every row, which begin at `at` and are `d_head` wide; row i is the token at position i.
///
/// # Panics
/// When the rotated part is wider than a head.
pub fn turn(rotary: &Rotary, x: &mut Rows, at: Strides, n_heads: usize, d_head: usize) {
    let n = rotary.rope().n_pairs();
    if n == 0 {
        return;
    }
    assert!(d_head >= 2 * n, "{} rotated features do not fit heads of {d_head}", 2 * n);
    let n_tokens = x.n_rows();
    let turns = rotary.turns(n_tokens);
    let values = x.values_mut();
    vectorised(
        #[inline(always)]
        || {
            for t in 0..n_tokens {
                let (cos, sin) = (&turns.cos[t * n..][..n], &turns.sin[t * n..][..n]);
                for h in 0..n_heads {
                    let at = at.of(t, h);
                    if rotary.is_of_neighbours() {
                        let pairs = values[at..][..2 * n].as_chunks_mut::<2>().0;
                        for (i, [a, b]) in pairs.iter_mut().enumerate() {
                            (*a, *b) = (*a * cos[i] - *b * sin[i], *b * cos[i] + *a * sin[i]);
                        }
                        continue;
                    }
                    let (first, second) = values[at..][..2 * n].split_at_mut(n);
                    for i in 0..n {
                        let (a, b) = (first[i], second[i]);
                        first[i] = a * cos[i] - b * sin[i];
                        second[i] = b * cos[i] + a * sin[i];
                    }
                }
            }
        },
    );
}
