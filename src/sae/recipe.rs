//! How do stored tensors become an [`Sae`]? One path for all formats.
//!
//! A format's file fills a [`Recipe`] from headers. [`Recipe::check`] compares every shape before any value is read.
//! [`Recipe::build`] reads each tensor once, multiplies by the scales, and refuses values that are not finite.

use super::autoencoder::{Sae, SaeShape};
use super::rule::{Activation, Normalise, Rule};
use crate::error::Result;
use crate::linalg::Matrix;
use crate::linalg::kept::{Kept, Numbers};
use crate::weights::{Layout, Tensors};

/// A matrix by name, and its layout.
#[derive(Clone, Debug)]
pub(super) struct StoredMatrix {
    pub name: String,
    pub layout: Layout,
}

impl StoredMatrix {
    pub fn as_is(name: impl Into<String>) -> Self {
        StoredMatrix { name: name.into(), layout: Layout::AsIs }
    }

    pub fn transposed(name: impl Into<String>) -> Self {
        StoredMatrix { name: name.into(), layout: Layout::Transposed }
    }

    /// `(rows, cols)` as they will be read.
    pub fn sides(&self, tensors: &Tensors) -> Result<(usize, usize)> {
        let (a, b) = tensors.sides(&self.name)?;
        Ok(if self.layout == Layout::AsIs { (a, b) } else { (b, a) })
    }

    fn read(&self, tensors: &Tensors, (rows, cols): (usize, usize)) -> Result<Matrix<f32>> {
        tensors.matrix(&self.name, rows, cols, self.layout)
    }

    fn expect(&self, tensors: &Tensors, (rows, cols): (usize, usize)) -> Result<()> {
        let stored = if self.layout == Layout::AsIs { [rows, cols] } else { [cols, rows] };
        tensors.expect(&self.name, &stored)
    }
}

/// Where the numbers of the selection come from; the kind itself is [`SaeShape::activation`].
#[derive(Clone, Debug)]
pub(super) enum Selection {
    /// `b_enc` alone (ReLU, top-k, group maximum).
    Bias { b_enc: String },
    /// JumpReLU with a threshold for each latent.
    Thresholds { b_enc: String, threshold: String },
    /// JumpReLU whose file holds the logarithm of the thresholds, one or `[d_sae]`.
    LogThresholds { b_enc: String, log_threshold: String },
    /// JumpReLU with one threshold for all.
    Threshold { b_enc: String, threshold: f32 },
    /// Gate and magnitude share the encoder: `gate`, `bias` and `log_scale` are `[d_sae]`.
    Gated { gate: String, bias: String, log_scale: String },
}

/// Factors that are multiplied into the weights when they are read; `n_j` is the norm of row j of the decoder.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rescale {
    /// Latents count in units of their decoder row: encoder times n, decoder over n. Thresholds are in these units.
    UnitDecoder,
    /// The selection is made on latents times n, the output is without it.
    SelectByDecoderNorm,
    /// Trained on inputs scaled by `input` and outputs scaled by `output`: encoder times `input`, decoder and its bias
    /// over `output`, what is taken from the input over `input`, thresholds (given in raw units) times `threshold`.
    Scaled { input: f32, output: f32, threshold: f32 },
}

/// Everything about an SAE but its values.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub shape: SaeShape,
    pub tensors: Tensors,
    /// Read as `[d_sae, d_in]`.
    pub w_enc: StoredMatrix,
    /// Read as `[d_sae, d_out]`.
    pub w_dec: StoredMatrix,
    /// `[d_out]`; zeros where there is none.
    pub b_dec: Option<String>,
    pub subtract_b_dec: bool,
    pub normalise: Normalise,
    pub selection: Selection,
    /// In this order.
    pub rescales: Vec<Rescale>,
    /// What decoder rows are multiplied by, `[d_sae]`.
    pub decoder_scale: Option<String>,
    /// Read as `[d_out, d_in]`.
    pub skip: Option<StoredMatrix>,
    /// Whether the weights are believed where the configuration has other sizes.
    pub trust_weights: bool,
}

impl Recipe {
    /// Compares every shape with the others.
    ///
    /// # Errors
    /// `Input` naming file, tensor, found and expected.
    pub fn check(&self) -> Result<()> {
        let (t, &SaeShape { d_in, d_sae, d_out, .. }) = (&self.tensors, &self.shape);
        if d_sae < 2 || d_in == 0 || d_out == 0 || u32::try_from(d_sae).is_err() {
            return Err(t.wrong(
                &self.w_enc.name,
                format!("makes an SAE of {d_in} inputs and {d_sae} latents; expected 2 latents or more"),
            ));
        }
        self.check_declared()?;
        self.w_enc.expect(t, (d_sae, d_in))?;
        self.w_dec.expect(t, (d_sae, d_out))?;
        if let Some(skip) = &self.skip {
            skip.expect(t, (d_out, d_in))?;
        }
        for name in self.b_dec.iter() {
            t.expect(name, &[d_out])?;
        }
        for name in self.decoder_scale.iter() {
            t.expect(name, &[d_sae])?;
        }
        if self.subtract_b_dec && d_in != d_out {
            return Err(
                t.wrong(&self.w_dec.name, format!("is {d_out} wide, but its bias is taken from an input {d_in} wide"))
            );
        }
        let vectors: Vec<&String> = match &self.selection {
            Selection::Bias { b_enc } | Selection::Threshold { b_enc, .. } => vec![b_enc],
            Selection::Thresholds { b_enc, threshold } => vec![b_enc, threshold],
            Selection::LogThresholds { b_enc, log_threshold } if t.is_scalar(log_threshold) => vec![b_enc],
            Selection::LogThresholds { b_enc, log_threshold } => vec![b_enc, log_threshold],
            Selection::Gated { gate, bias, log_scale } => vec![gate, bias, log_scale],
        };
        for name in vectors {
            t.expect(name, &[d_sae])?;
        }
        let too_many = |what: &str, k: usize| {
            t.wrong(
                &self.w_enc.name,
                format!("has {d_sae} latents, but {what} {k} is asked for; check the configuration"),
            )
        };
        match self.shape.activation {
            Activation::TopK(k) | Activation::AbsTopK(k) if k == 0 || k > d_sae => Err(too_many("k", k)),
            Activation::GroupMax(k) if k == 0 || d_sae % k != 0 => Err(too_many("a number of equal groups of", k)),
            _ => Ok(()),
        }
    }

    /// Compares the sizes in the configuration with the sizes of the weights.
    fn check_declared(&self) -> Result<()> {
        let SaeShape { d_in, d_sae, declared, files, .. } = &self.shape;
        let sizes = [("input", declared.d_in, d_in), ("number of latents", declared.d_sae, d_sae)];
        match sizes.iter().find_map(|(what, declared, found)| declared.filter(|declared| declared != *found).map(|declared| (what, declared))) {
            Some((what, declared)) if !self.trust_weights => Err(self.tensors.wrong(
                &self.w_enc.name,
                format!(
                    "makes an SAE of {d_in} inputs and {d_sae} latents, but {} gives {declared} as its {what}; the two files do not \
                     belong together (insist = [\"width\"] reads it by its weights)",
                    files.first().map(|f| f.display().to_string()).unwrap_or_default()
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Reads the weights.
    ///
    /// # Errors
    /// `Input` for a shape or value that is wrong, `Machine` when memory is short.
    pub fn build(self) -> Result<Sae> {
        self.check()?;
        let (t, shape) = (&self.tensors, &self.shape);
        let (d_in, d_sae, d_out) = (shape.d_in, shape.d_sae, shape.d_out);
        let mut w_enc = self.w_enc.read(t, (d_sae, d_in))?;
        let mut w_dec = self.w_dec.read(t, (d_sae, d_out))?;
        let skip = self.skip.as_ref().map(|skip| skip.read(t, (d_out, d_in))).transpose()?;
        let mut b_dec = match &self.b_dec {
            Some(name) => t.vector(name, d_out)?,
            None => vec![0.0; d_out],
        };
        if let Some(name) = &self.decoder_scale {
            scale_rows(&mut w_dec, &t.vector(name, d_sae)?);
        }
        let relu = |bias: Vec<f32>, activation: Activation| match activation {
            Activation::TopK(k) => Rule::TopK { bias, k, signed: false },
            Activation::AbsTopK(k) => Rule::TopK { bias, k, signed: true },
            Activation::GroupMax(groups) => Rule::GroupMax { bias, groups },
            _ => Rule::Above { floor: vec![0.0; bias.len()], bias },
        };
        let mut rule = match &self.selection {
            Selection::Bias { b_enc } => relu(t.vector(b_enc, d_sae)?, shape.activation),
            Selection::Threshold { b_enc, threshold } => {
                Rule::Above { bias: t.vector(b_enc, d_sae)?, floor: vec![*threshold; d_sae] }
            }
            Selection::Thresholds { b_enc, threshold } => {
                Rule::Above { bias: t.vector(b_enc, d_sae)?, floor: t.thresholds(threshold, d_sae)? }
            }
            Selection::LogThresholds { b_enc, log_threshold } => {
                let logs = if t.is_scalar(log_threshold) {
                    vec![t.scalar(log_threshold)?; d_sae]
                } else {
                    t.thresholds(log_threshold, d_sae)?
                };
                Rule::Above { bias: t.vector(b_enc, d_sae)?, floor: logs.iter().map(|v| v.exp()).collect() }
            }
            Selection::Gated { gate, bias, log_scale } => Rule::Gated {
                bias: t.vector(bias, d_sae)?,
                scale: t.vector(log_scale, d_sae)?.iter().map(|v| v.exp()).collect(),
                gate: t.vector(gate, d_sae)?,
            },
        };
        let mut subtract = self.subtract_b_dec.then(|| b_dec.clone());
        let mut output_scale = None;
        for rescale in &self.rescales {
            match *rescale {
                Rescale::UnitDecoder => {
                    let norms = row_norms(&w_dec);
                    scale_rows(&mut w_enc, &norms);
                    scale_rows(&mut w_dec, &inverse(&norms));
                    rule.scale_bias(&norms);
                }
                Rescale::SelectByDecoderNorm => {
                    let norms = row_norms(&w_dec);
                    scale_rows(&mut w_enc, &norms);
                    rule.scale_bias(&norms);
                    output_scale = Some(inverse(&norms));
                }
                Rescale::Scaled { input, output, threshold } => {
                    w_enc.as_mut_slice().iter_mut().for_each(|w| *w *= input);
                    // (input · x − b) W = (x − b / input) (input · W)
                    subtract.iter_mut().flatten().for_each(|b| *b /= input);
                    w_dec.as_mut_slice().iter_mut().chain(&mut b_dec).for_each(|w| *w /= output);
                    if let Rule::Above { floor, .. } = &mut rule {
                        floor.iter_mut().for_each(|floor| *floor *= threshold);
                    }
                }
            }
        }
        if let Rule::Above { floor, .. } = &mut rule {
            // A negative threshold lets nothing negative through: the ReLU comes before it.
            floor.iter_mut().for_each(|floor| *floor = floor.max(0.0));
        }
        let w_enc = Kept::from_transposed(Numbers::F32, w_enc.as_slice(), d_sae, d_in);
        Ok(Sae {
            normalise: self.normalise,
            shape: self.shape,
            w_enc,
            w_dec,
            b_dec,
            subtract,
            rule,
            output_scale,
            skip,
            screen: None,
            products: Vec::new(),
        })
    }
}

/// Euclidean norm of each row, summed in f64.
fn row_norms(matrix: &Matrix<f32>) -> Vec<f32> {
    matrix.rows().map(|row| row.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>().sqrt() as f32).collect()
}

/// 1/v, and 1 where v is 0: a latent without a direction stays one.
fn inverse(values: &[f32]) -> Vec<f32> {
    values.iter().map(|&v| if v == 0.0 { 1.0 } else { 1.0 / v }).collect()
}

fn scale_rows(matrix: &mut Matrix<f32>, by: &[f32]) {
    for (r, by) in by.iter().enumerate() {
        matrix.row_mut(r).iter_mut().for_each(|w| *w *= by);
    }
}
