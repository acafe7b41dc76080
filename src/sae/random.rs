//! What is a random SAE? A control in the place of a trained one: the same sizes and k, and nothing learned.
//!
//! Decoder rows are Gaussian, scaled to norm 1; the encoder is the decoder transposed; biases are 0; the k largest positive latents fire
//! (the frozen random decoder of arXiv 2602.14111). Rows of the input are normalised or centred as for the trained SAE; its scale
//! is left out, which would multiply all latents alike.

use super::autoencoder::{Sae, SaeShape};
use super::declared::Scale;
use super::open::recipe_as;
use super::reading::Reading;
use super::rule::{Activation, Rule};
use crate::error::{Error, Result};
use crate::linalg::kept::{Kept, Numbers};
use crate::linalg::{Matrix, Stream};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::path::Path;

/// `[saes."MODEL/HOOKPOINT"] random = SEED`, or `{ seed = SEED, k = K }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomSae {
    /// Another seed draws other rows; SAEs of different places are independent under one seed.
    pub seed: u64,
    /// Latents that fire on a row; the trained SAE's own k when absent.
    pub k: Option<usize>,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a seed, or a table { seed = N, k = K }")]
enum Written {
    Seed(u64),
    Table(Table),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    seed: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    k: Option<usize>,
}

impl<'de> Deserialize<'de> for RandomSae {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::Seed(seed) => RandomSae { seed, k: None },
            Written::Table(Table { seed, k }) => RandomSae { seed, k },
        })
    }
}

impl Serialize for RandomSae {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let &RandomSae { seed, k } = self;
        if k.is_some() { Written::Table(Table { seed, k }) } else { Written::Seed(seed) }.serialize(serializer)
    }
}

impl fmt::Display for RandomSae {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}", self.seed)?;
        self.k.map_or(Ok(()), |k| write!(f, ", k {k}"))
    }
}

impl RandomSae {
    /// Sizes of the random SAE in the place of one of `trained`.
    ///
    /// # Errors
    /// `Request` for a transcoder, an SAE without a k where none is given, and a k above its number of latents.
    pub fn shape(self, trained: &SaeShape) -> Result<SaeShape> {
        if trained.transcoder || trained.d_in != trained.d_out {
            return Err(Error::request(
                "random is set, but this is a transcoder: an encoder that is the decoder transposed needs one width; take random out",
            ));
        }
        let Some(k) = self.k.or(trained.activation.k()) else {
            return Err(Error::request(format!(
                "random keeps the k of the trained SAE, and this one ({}) counts no latents; write random = {{ seed = {}, k = K }} \
                 with its mean number of firing latents (L0), which `cognate doctor` shows",
                trained.activation, self.seed
            )));
        };
        if k == 0 || k > trained.d_sae {
            return Err(Error::request(format!(
                "random.k is {k}; expected 1 to {}, the number of latents",
                trained.d_sae
            )));
        }
        let mut shape = SaeShape { activation: Activation::TopK(k), skip: false, ..trained.clone() };
        shape.declared.scale = Scale::Unsaid;
        Ok(shape)
    }

    /// The random SAE in the place of the one at `path`, whose headers are read with `reading`, and no weight. `place` is where it
    /// reads: part of the name of its stream.
    ///
    /// # Errors
    /// As [`super::header_as`] and [`RandomSae::shape`].
    pub fn open(self, path: &Path, reading: &Reading, place: &str) -> Result<Sae> {
        let recipe = recipe_as(path, reading)?;
        let shape = self.shape(&recipe.shape)?;
        let (d_in, d_sae) = (shape.d_in, shape.d_sae);
        let mut stream = Stream::new(self.seed, &format!("random sae {place}"), 0);
        let mut rows = Matrix::zeros(d_sae, d_in);
        for i in 0..d_sae {
            let drawn: Vec<f64> = (0..d_in).map(|_| stream.gaussian()).collect();
            let norm = drawn.iter().map(|v| v * v).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
            rows.row_mut(i).iter_mut().zip(&drawn).for_each(|(out, v)| *out = (v / norm) as f32);
        }
        let k = shape.activation.k().expect("a random SAE counts its latents");
        Ok(Sae {
            normalise: recipe.normalise,
            w_enc: Kept::from_transposed(Numbers::F32, rows.as_slice(), d_sae, d_in),
            w_dec: rows,
            b_dec: vec![0.0; d_in],
            subtract: None,
            rule: Rule::TopK { bias: vec![0.0; d_sae], k, signed: false },
            output_scale: None,
            skip: None,
            screen: None,
            products: Vec::new(),
            shape,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::Encode;

    const TRAINED: &str = "data/demo/saes/small-a/layers.1";

    fn open(seed: u64, k: Option<usize>, place: &str) -> Sae {
        RandomSae { seed, k }.open(Path::new(TRAINED), &Reading::default(), place).unwrap()
    }

    #[test]
    fn rows_are_unit_and_the_k_largest_positive_products_fire() {
        let sae = open(3, None, "a/resid_post.1");
        let trained = crate::sae::header(Path::new(TRAINED), None).unwrap();
        let &SaeShape { d_in, d_sae, activation, .. } = sae.shape();
        assert_eq!((d_in, d_sae, activation), (trained.d_in, trained.d_sae, trained.activation));
        let rows = sae.decoder_rows();
        for i in 0..d_sae {
            let norm: f64 = rows.row(i).iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
            assert!((norm - 1.0).abs() < 1e-6, "{norm}");
        }
        // the plain computation of what fires, and of what comes out
        let mut stream = Stream::new(9, "rows", 0);
        let x = Matrix::from_vec(4, d_in, (0..4 * d_in).map(|_| stream.gaussian() as f32).collect());
        let got = sae.encode(&x, Encode::Sparse).unwrap();
        for r in 0..4 {
            let dot =
                |i: usize| x.row(r).iter().zip(rows.row(i)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let mut all: Vec<(f64, u32)> = (0..d_sae).map(|i| (dot(i), i as u32)).filter(|p| p.0 > 0.0).collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0));
            all.truncate(activation.k().unwrap());
            let mut want: Vec<u32> = all.iter().map(|p| p.1).collect();
            want.sort_unstable();
            assert_eq!(got.row(r).0, want);
        }
        // columns are uncorrelated on average: the mean cosine of neighbours is 0 within four standard errors
        let cosine: f64 = (1..d_sae)
            .map(|i| rows.row(i).iter().zip(rows.row(i - 1)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>())
            .sum::<f64>()
            / (d_sae - 1) as f64;
        assert!(cosine.abs() < 4.0 / ((d_sae * d_in) as f64).sqrt(), "{cosine}");
    }

    #[test]
    fn seeds_and_places_draw_other_rows_and_k_is_the_one_asked_for() {
        let rows = |seed, place| open(seed, None, place).decoder_rows().as_slice().to_vec();
        assert_eq!(rows(3, "a/embed"), rows(3, "a/embed"));
        assert!(rows(3, "a/embed") != rows(4, "a/embed") && rows(3, "a/embed") != rows(3, "b/embed"));
        assert_eq!(open(3, Some(5), "a").shape().activation, Activation::TopK(5));
    }

    #[test]
    fn what_has_no_k_or_two_widths_is_refused() {
        let trained = crate::sae::header(Path::new(TRAINED), None).unwrap();
        let shape = |k, trained: &SaeShape| RandomSae { seed: 1, k }.shape(trained);
        let relu = SaeShape { activation: Activation::Relu, ..trained.clone() };
        assert!(shape(None, &relu).unwrap_err().to_string().contains("k = K"));
        assert_eq!(shape(Some(7), &relu).unwrap().activation, Activation::TopK(7));
        for k in [0, trained.d_sae + 1] {
            assert!(shape(Some(k), &trained).unwrap_err().to_string().contains("random.k"));
        }
        let transcoder = SaeShape { transcoder: true, ..trained };
        assert!(shape(None, &transcoder).unwrap_err().to_string().contains("transcoder"));
    }
}
