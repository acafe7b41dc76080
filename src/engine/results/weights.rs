//! How do the weights of two SAEs of one model agree? Cosines of matched latents' rows, and dictionaries as wholes; no activation takes
//! part, so nothing here changes while a run streams.

use crate::engine::results::judged::Results;
use crate::error::Result;
use crate::linalg::{Matrix, Stream};
use crate::similarity::{cosine, match_dictionaries, unit_rows};
use crate::table::{DictionaryScores, RowCosines};

/// Rows this near count as shared (arXiv 2501.16615).
const SHARED: f64 = 0.7;

impl Results {
    /// Cosines of two latents' rows, of pair `p`.
    pub(super) fn cosines(&self, p: usize, latents: Option<(u32, u32)>) -> RowCosines {
        let pair = self.plan.pairs()[p];
        let (Some(a), Some(b)) = (&self.saes[pair.source], &self.saes[pair.target]) else {
            return RowCosines::default();
        };
        let Some((i, j)) = latents.map(|(i, j)| (i as usize, j as usize)) else { return RowCosines::default() };
        RowCosines {
            decoder: (self.plan.has_decoder_cosines(pair))
                .then(|| cosine(a.decoder_rows().row(i), b.decoder_rows().row(j)))
                .flatten(),
            encoder: (self.plan.has_encoder_cosines(pair))
                .then(|| cosine(&a.encoder_row(i), &b.encoder_row(j)))
                .flatten(),
            mapped: None,
            logits: None,
        }
    }

    /// How the dictionaries of each pair agree, where that is asked for and defined.
    pub(super) fn dictionaries(&self) -> Result<Vec<DictionaryScores>> {
        let asked = self.plan.spec().estimate.dictionary;
        let of = |p: usize| {
            self.work.at("dictionaries", p)?;
            if asked { self.dictionary(p) } else { Ok(DictionaryScores::default()) }
        };
        (0..self.plan.pairs().len()).map(of).collect()
    }

    fn dictionary(&self, p: usize) -> Result<DictionaryScores> {
        let pair = self.plan.pairs()[p];
        let (Some(a), Some(b), true) =
            (&self.saes[pair.source], &self.saes[pair.target], self.plan.has_decoder_cosines(pair))
        else {
            return Ok(DictionaryScores::default());
        };
        let (source, target) = self.plan.pair_sites(p);
        let mut stream = Stream::new(self.plan.spec().seed, &format!("dictionary {source} {target}"), 0);
        let mut order = |width: usize| stream.permutation(width).into_iter().map(|c| c as usize).collect::<Vec<_>>();
        let (of_decoder, of_encoder) = (order(b.decoder_rows().n_cols()), order(b.shape().d_in));
        // one order for rows of one width, so that a latent's two rows stay beside each other
        let of_encoder = if of_encoder.len() == of_decoder.len() { of_decoder.clone() } else { of_encoder };
        let (x, y) = (unit_rows(a.decoder_rows()), unit_rows(b.decoder_rows()));
        let with_encoders = self.plan.has_encoder_cosines(pair);
        let score = |y: &Matrix<f64>, of_encoder: Option<&[usize]>| -> Result<_> {
            self.work.halt().check()?;
            let found = match_dictionaries(&x, y)?;
            let shared = |&&(i, j, decoder): &&(usize, usize, f64)| {
                let (ours, mut theirs) = (a.encoder_row(i), b.encoder_row(j));
                if let Some(order) = of_encoder {
                    theirs = order.iter().map(|&c| theirs[c]).collect();
                }
                decoder >= SHARED && cosine(&ours, &theirs).is_some_and(|encoder| encoder >= SHARED)
            };
            let n = x.n_rows().min(y.n_rows()) as f64;
            let shared = with_encoders.then(|| found.pairs.iter().filter(shared).count() as f64 / n);
            Ok((found.pw_mcc, found.mean_max, shared))
        };
        let (pw_mcc, mean_max, shared) = score(&y, None)?;
        let (pw_mcc_null, mean_max_null, shared_null) = score(&columns_in_order(&y, &of_decoder), Some(&of_encoder))?;
        Ok(DictionaryScores {
            pw_mcc,
            pw_mcc_null,
            mean_max_forward: mean_max[0],
            mean_max_forward_null: mean_max_null[0],
            mean_max_backward: mean_max[1],
            mean_max_backward_null: mean_max_null[1],
            shared,
            shared_null,
        })
    }
}

/// Column `order[c]` at place c.
fn columns_in_order(rows: &Matrix<f64>, order: &[usize]) -> Matrix<f64> {
    let data = rows.rows().flat_map(|row| order.iter().map(|&c| row[c])).collect();
    Matrix::from_vec(rows.n_rows(), rows.n_cols(), data)
}
