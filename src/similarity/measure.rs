//! Which number is asked for? The measures by name.

use std::fmt;
use std::str::FromStr;

use super::SvccaRule;
use crate::error::{Error, Result};

/// One way to compare two feature spaces. Written and read by its name, as dataflow files and tables spell it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// Mean canonical correlation of the leading components (Raghu et al. 2017): `svcca` (99 % of the variance),
    /// `svcca_as_published` (one component a side), `svcca_k10`, `svcca_var90`. In `[0, 1]`.
    Svcca(SvccaRule),
    /// Linear centred kernel alignment (Kornblith et al. 2019): `cka`. In `[0, 1]`.
    Cka,
    /// The same with the unbiased estimates of HSIC (Song et al. 2012; Nguyen et al. 2020): `cka_debiased`. Few rows of many
    /// dimensions do not raise it; around 0 where nothing is shared, at most 1.
    CkaDebiased,
    /// Rank correlation of the two similarity matrices of rows: `rsa`, `rsa_cosine`, `rsa_euclidean`. In `[-1, 1]`.
    Rsa(RsaRule),
    /// Projection-weighted CCA (Morcos et al. 2018): `pwcca`, `pwcca_as_published`. In `[0, 1]`.
    Pwcca(PwccaRule),
    /// `‖PᵀQ‖_* / (‖P‖ ‖Q‖)` of the centred rows, the agreement after the best rotation: `procrustes`. In `[0, 1]`; the
    /// Procrustes distance of the centred, unit-norm rows is `√(2 - 2 value)`.
    Procrustes,
    /// `min_R ‖P R - Q‖ / ‖Q‖` over orthogonal `R`, neither centred nor scaled: `procrustes_rmse`. Smaller is closer; not
    /// symmetric in its two sides.
    ProcrustesRmse,
    /// Mean Jaccard index of the `k` nearest neighbours (cosine, self excluded): `jaccard_knn10`. In `[0, 1]`.
    JaccardKnn(usize),
    /// Mean share of the `k` nearest neighbours that both sides name (Huh et al. 2024): `mutual_knn10`. In `[0, 1]`.
    MutualKnn(usize),
}

/// What similarity two rows have in RSA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RsaRule {
    /// Cosine after each row's own mean is taken off, so Pearson over the row's dimensions, as the paper does. Not
    /// invariant under rotations.
    Centred,
    /// Plain cosine; invariant under rotations.
    Cosine,
    /// Nearness in Euclidean distance; invariant under rotations and translations.
    Euclidean,
}

/// Which weights PWCCA gives its directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PwccaRule {
    /// `α_i = Σ_j |⟨h_i, x_j⟩|` with `h_i` the canonical variates and `x_j` the centred columns of the narrower side.
    Projection,
    /// As the Google code weighs: `h` from a QR of `uᵀ(x - μ) + μ`, and columns not centred. Its value depends on the
    /// signs that the singular vectors happen to have, wherever a mean is not 0; here `h_i` has the sign that `faer` gives.
    AsPublished,
}

impl Measure {
    /// Whether a smaller value means closer spaces.
    pub fn smaller_is_closer(self) -> bool {
        self == Measure::ProcrustesRmse
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Measure::Svcca(SvccaRule::AsPublished) => f.write_str("svcca_as_published"),
            Measure::Svcca(SvccaRule::Variance(0.99)) => f.write_str("svcca"),
            // Shortest decimal that reads back: 0.9 gives var90, 0.999 gives var99.9.
            Measure::Svcca(SvccaRule::Variance(share)) => write!(f, "svcca_var{}", (share * 1e8).round() / 1e6),
            Measure::Svcca(SvccaRule::Fixed(k)) => write!(f, "svcca_k{k}"),
            Measure::Cka => f.write_str("cka"),
            Measure::CkaDebiased => f.write_str("cka_debiased"),
            Measure::Rsa(RsaRule::Centred) => f.write_str("rsa"),
            Measure::Rsa(RsaRule::Cosine) => f.write_str("rsa_cosine"),
            Measure::Rsa(RsaRule::Euclidean) => f.write_str("rsa_euclidean"),
            Measure::Pwcca(PwccaRule::Projection) => f.write_str("pwcca"),
            Measure::Pwcca(PwccaRule::AsPublished) => f.write_str("pwcca_as_published"),
            Measure::Procrustes => f.write_str("procrustes"),
            Measure::ProcrustesRmse => f.write_str("procrustes_rmse"),
            Measure::JaccardKnn(k) => write!(f, "jaccard_knn{k}"),
            Measure::MutualKnn(k) => write!(f, "mutual_knn{k}"),
        }
    }
}

impl FromStr for Measure {
    type Err = Error;

    /// Reads a measure's name. `svcca_var99` is `svcca`.
    ///
    /// # Errors
    /// `Request` for a name that is none, with the names there are.
    fn from_str(name: &str) -> Result<Self> {
        let count = |text: &str| text.parse::<usize>().ok().filter(|&k| k > 0);
        let share = |text: &str| text.parse::<f64>().ok().filter(|&p| p > 0.0 && p <= 100.0).map(|p| p / 100.0);
        let found = match name {
            "svcca" => Some(Measure::Svcca(SvccaRule::Variance(0.99))),
            "svcca_as_published" => Some(Measure::Svcca(SvccaRule::AsPublished)),
            "cka" => Some(Measure::Cka),
            "cka_debiased" => Some(Measure::CkaDebiased),
            "rsa" => Some(Measure::Rsa(RsaRule::Centred)),
            "rsa_cosine" => Some(Measure::Rsa(RsaRule::Cosine)),
            "rsa_euclidean" => Some(Measure::Rsa(RsaRule::Euclidean)),
            "pwcca" => Some(Measure::Pwcca(PwccaRule::Projection)),
            "pwcca_as_published" => Some(Measure::Pwcca(PwccaRule::AsPublished)),
            "procrustes" => Some(Measure::Procrustes),
            "procrustes_rmse" => Some(Measure::ProcrustesRmse),
            "jaccard_knn" => Some(Measure::JaccardKnn(10)),
            "mutual_knn" => Some(Measure::MutualKnn(10)),
            _ => None,
        };
        let numbered = || {
            let after = |prefix| name.strip_prefix(prefix);
            (after("svcca_k").and_then(count).map(|k| Measure::Svcca(SvccaRule::Fixed(k))))
                .or_else(|| after("svcca_var").and_then(share).map(|p| Measure::Svcca(SvccaRule::Variance(p))))
                .or_else(|| after("jaccard_knn").and_then(count).map(Measure::JaccardKnn))
                .or_else(|| after("mutual_knn").and_then(count).map(Measure::MutualKnn))
        };
        found.or_else(numbered).ok_or_else(|| {
            Error::request(format!(
                "measure \"{name}\" is unknown; there are svcca, svcca_as_published, svcca_varP (P percent), svcca_kN, cka, cka_debiased, \
                 rsa, rsa_cosine, rsa_euclidean, pwcca, pwcca_as_published, procrustes, procrustes_rmse, jaccard_knnN and mutual_knnN"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let names = "svcca svcca_as_published svcca_k10 svcca_var90 svcca_var99.9 cka cka_debiased rsa rsa_cosine rsa_euclidean pwcca \
                     pwcca_as_published procrustes procrustes_rmse jaccard_knn10 mutual_knn5";
        for name in names.split_whitespace() {
            assert_eq!(name.parse::<Measure>().unwrap().to_string(), name);
        }
        assert_eq!("svcca_var99".parse::<Measure>().unwrap().to_string(), "svcca");
        for wrong in ["SVCCA", "svcca_k0", "svcca_var0", "svcca_varNaN", "knn", ""] {
            assert_eq!(wrong.parse::<Measure>().unwrap_err().kind(), crate::error::ErrorKind::Request);
        }
    }
}
