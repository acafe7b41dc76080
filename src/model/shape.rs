//! How large is a model, and which parts does it have? Read from its header.

use crate::error::{Error, Result};
use crate::ids::{BlockKind, HookName, Hookpoint};

/// Sizes of a model, known from its header.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelShape {
    /// `model_type` of the configuration, for example `gpt_neox`.
    pub family: String,
    /// Number of blocks.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Width of `attn_q` and `attn_z`: heads times head width.
    pub d_attn: usize,
    /// Width of `attn_k` and `attn_v`: key and value heads times head width.
    pub d_kv: usize,
    /// Width inside the MLP.
    pub d_mlp: usize,
    /// Width of the embedding's rows: `d_model`, unless they are projected.
    pub d_token: usize,
    /// Rows of the embedding.
    pub n_vocab: usize,
    /// Longest context the positions allow; `None` where nothing limits it.
    pub max_context: Option<usize>,
    /// Parameters in the file.
    pub n_parameters: u64,
    /// Parameters of one block.
    pub n_block_parameters: u64,
    /// Where the norms of a block are and what is added to what.
    pub block: BlockKind,
    /// Whether the MLP has a gate (`mlp_up`, `mlp_gate_act` exist).
    pub gated: bool,
    /// Whether its norms take the mean off (LayerNorm, not RMSNorm): then the mean over dimensions of what is added to the
    /// residual stream changes nothing.
    pub layer_norm: bool,
}

/// What the family of a model is called of which only the width is known.
const FED: &str = "fed";

impl ModelShape {
    /// A model that does not run here and of which the dataflow file gives the width of the residual stream, and perhaps the number of blocks.
    pub fn fed(d_model: usize, n_layers: Option<usize>) -> ModelShape {
        ModelShape {
            family: FED.into(),
            n_layers: n_layers.unwrap_or(usize::MAX),
            d_model,
            d_attn: 0,
            d_kv: 0,
            d_mlp: 0,
            d_token: d_model,
            n_vocab: 0,
            max_context: None,
            n_parameters: 0,
            n_block_parameters: 0,
            block: BlockKind::Sequential,
            gated: false,
            layer_norm: false,
        }
    }

    /// Whether only its width is known.
    pub fn is_width_alone(&self) -> bool {
        self.family == FED
    }

    /// Width of the activations at `hookpoint`.
    ///
    /// # Errors
    /// `Request` when the family has no such hookpoint or the model no such block.
    pub fn width(&self, hookpoint: Hookpoint) -> Result<usize> {
        if let Some(l) = hookpoint.layer().filter(|&l| l >= self.n_layers) {
            return Err(Error::request(format!(
                "hookpoint {hookpoint} names block {l}, the model has {} blocks (0 to {})",
                self.n_layers,
                self.n_layers - 1
            )));
        }
        let missing = |what: &str| {
            Err(Error::request(format!("hookpoint {hookpoint}: this model of family {} has {what}", self.family)))
        };
        let is_stream_wide = !matches!(
            hookpoint,
            Hookpoint::AttnQ(_)
                | Hookpoint::AttnK(_)
                | Hookpoint::AttnV(_)
                | Hookpoint::AttnZ(_)
                | Hookpoint::MlpPre(_)
                | Hookpoint::MlpUp(_)
                | Hookpoint::MlpGateAct(_)
                | Hookpoint::MlpAct(_)
        );
        if self.is_width_alone() {
            return match is_stream_wide {
                true => Ok(self.d_model),
                false => Err(Error::request(format!(
                    "hookpoint {hookpoint} is not as wide as the residual stream, and of this model only d_model is known; write sizes = \
                     {{…}} with the keys of its config.json in the place of d_model"
                ))),
            };
        }
        match hookpoint {
            Hookpoint::AttnOutNormed(_) | Hookpoint::MlpOutNormed(_) if !self.block.has_post_norms() => {
                missing("no norms after attention and MLP; take attn_out or mlp_out")
            }
            Hookpoint::ResidMid(l) if !self.block.has_resid_mid() => missing(&match self.block {
                BlockKind::After => format!("a norm where attention is added; what comes out of it is mlp_in.{l}"),
                _ => format!(
                    "attention and MLP added at once, and no stream between them; take resid_pre.{l} or resid_post.{l}"
                ),
            }),
            Hookpoint::MlpUp(l) | Hookpoint::MlpGateAct(l) if !self.gated => {
                missing(&format!("an MLP without a gate; take mlp_pre.{l} or mlp_act.{l}"))
            }
            Hookpoint::FinalNorm if self.block == BlockKind::After => {
                missing(&format!("no final norm; take resid_post.{}", self.n_layers.saturating_sub(1)))
            }
            Hookpoint::TokenEmbed => Ok(self.d_token),
            Hookpoint::AttnQ(_) | Hookpoint::AttnZ(_) => Ok(self.d_attn),
            Hookpoint::AttnK(_) | Hookpoint::AttnV(_) => Ok(self.d_kv),
            Hookpoint::MlpPre(_) | Hookpoint::MlpUp(_) | Hookpoint::MlpGateAct(_) | Hookpoint::MlpAct(_) => {
                Ok(self.d_mlp)
            }
            _ => Ok(self.d_model),
        }
    }

    /// The family as [`resolve`](crate::ids::resolve()) takes it: the `model_type`, with the arrangement of the blocks
    /// behind it where names may depend on that.
    pub fn names(&self) -> String {
        let arrangement = match self.block {
            BlockKind::Sequential => "sequential",
            BlockKind::Parallel => "parallel",
            BlockKind::After => "after",
            _ => return self.family.clone(),
        };
        format!("{}/{arrangement}", self.family)
    }

    /// The place that a name means in this model.
    ///
    /// # Errors
    /// `Request` where it means none, or the model has not got it.
    pub fn place(&self, name: &HookName) -> Result<Hookpoint> {
        let place = name.resolve(&self.names())?;
        self.width(place)?;
        Ok(place)
    }
}
