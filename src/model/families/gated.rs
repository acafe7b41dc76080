//! What the Llama line has in common: RMSNorm, rotary attention with grouped queries, a gated MLP. Each family of the
//! line is a [`Line`] that says where it differs.

use crate::error::Result;
use crate::ids::BlockKind;
use crate::model::ModelShape;
use crate::model::config::Config;
use crate::model::decoder::{Block, Decoder, Input, Wiring};
use crate::model::keys::{Key, harmless, read, read_or_null};
use crate::model::layers::attention::Scores;
use crate::model::layers::rotary::Rope;
use crate::model::layers::{Activation, Attention, Mlp, Projections, Rotary};
use crate::model::loader::Loader;
use std::sync::Arc;

/// Keys of the whole line.
pub const KEYS: &[Key] = &[
    read("hidden_size"),
    read("intermediate_size"),
    read("num_hidden_layers"),
    read("num_attention_heads"),
    read("max_position_embeddings"),
    read("rms_norm_eps"),
    read_or_null("rope_theta"),
    harmless("attention_dropout"),
    harmless("pretraining_tp"),
];

/// Where a family of the line differs from the others.
pub struct Line {
    /// Name in [`ModelShape`].
    pub family: &'static str,
    /// Number of query heads.
    pub n_heads: usize,
    /// Number of key and value heads.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Rows of the embedding.
    pub n_vocab: usize,
    /// Biases of query, key and value projections.
    pub qkv_bias: bool,
    /// Bias of the output projection.
    pub output_bias: bool,
    /// Biases of the MLP.
    pub mlp_bias: bool,
    /// Norms of queries and keys.
    pub head_norms: HeadNorms,
    /// Where the norms of a block stand.
    pub norms: Norms,
    /// Added to the mean square where the configuration says nothing.
    pub default_eps: f64,
    /// Whether query, key and value are stored as one layer, and gate and up (Phi-3).
    pub fused: bool,
    /// What the stored norm weights lack: 1 for Gemma.
    pub norm_stored_less: f32,
    /// Multiplies the token rows.
    pub embed_scale: Option<f32>,
    /// f of the gate.
    pub activation: Activation,
    /// Multiplies the product of query and key.
    pub score_scale: f32,
    /// Soft cap of the scores.
    pub soft_cap: Option<f32>,
    /// Which layers have positions.
    pub turned: Vec<bool>,
    /// Sliding window of the layers that have one.
    pub window: Option<usize>,
    /// Which layers have the window.
    pub sliding: Vec<bool>,
    /// Rotation in layers without a window.
    pub rope: Rope,
    /// Rotation in layers with one, where it is another.
    pub sliding_rope: Option<Rope>,
}

/// Norms of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadNorms {
    /// There are none.
    Absent,
    /// Of each head by itself.
    Each,
    /// Of all heads together (OLMo 2).
    Together,
}

/// Where the norms of a block stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norms {
    /// Before attention and MLP.
    Before,
    /// Before and after them (Gemma 2 and 3).
    Around,
    /// After them (OLMo 2).
    After,
}

impl Norms {
    fn block(self) -> BlockKind {
        match self {
            Norms::Before => BlockKind::Sequential,
            Norms::Around => BlockKind::Sandwich,
            Norms::After => BlockKind::PostNorms,
        }
    }
}

impl Line {
    /// The family as it is most often: as many key heads as query heads, no biases, no head norms, no window, SiLU, scores
    /// over the root of the width. `hidden_act` is read where there is no activation of another name.
    ///
    /// # Errors
    /// `Input` when a size is missing or impossible.
    pub fn plain(family: &'static str, config: &Config, d_head: usize, rope: Rope) -> Result<Self> {
        let n_heads = config.size("num_attention_heads")?;
        Ok(Line {
            family,
            n_heads,
            n_kv_heads: n_heads,
            d_head,
            n_vocab: config.size("vocab_size")?,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            head_norms: HeadNorms::Absent,
            norms: Norms::Before,
            default_eps: 1e-6,
            fused: false,
            norm_stored_less: 0.0,
            embed_scale: None,
            activation: Activation::Silu,
            score_scale: 1.0 / (d_head as f32).sqrt(),
            soft_cap: None,
            turned: vec![true; config.size("num_hidden_layers")?],
            window: None,
            sliding: vec![false; config.size("num_hidden_layers")?],
            sliding_rope: None,
            rope,
        })
    }

    /// The decoder of this family; the prefix `model.` may be missing, `language_model.` may stand around it.
    ///
    /// # Errors
    /// `Input` when the checkpoint does not fit.
    pub fn build(self, config: &Config, loader: Loader) -> Result<Decoder> {
        let d_model = config.size("hidden_size")?;
        let d_mlp = config.size("intermediate_size")?;
        let eps = config.number_or("rms_norm_eps", self.default_eps)?;
        let n_layers = self.sliding.len();
        let prefixes = ["model.", "", "language_model.model.", "model.language_model."];
        let loader = loader.under(&prefixes, "embed_tokens.weight");
        let rotary = Arc::new(Rotary::new(&self.rope));
        let sliding_rotary =
            self.sliding_rope.as_ref().map_or_else(|| rotary.clone(), |rope| Arc::new(Rotary::new(rope)));
        let blocks = loader.blocks(n_layers, |loader, l| {
            let norm = |name: &str| loader.rms_norm(&format!("layers.{l}.{name}"), d_model, eps, self.norm_stored_less);
            Ok(Block {
                attention: self.attention(
                    loader,
                    l,
                    d_model,
                    eps,
                    if self.sliding[l] { &sliding_rotary } else { &rotary },
                )?,
                mlp: self.mlp(loader, l, d_model, d_mlp)?,
                wiring: match self.norms {
                    Norms::Before => Wiring::Sequential(norm("input_layernorm")?, norm("post_attention_layernorm")?),
                    Norms::Around => Wiring::Sandwich {
                        before_attention: norm("input_layernorm")?,
                        after_attention: norm("post_attention_layernorm")?,
                        before_mlp: norm("pre_feedforward_layernorm")?,
                        after_mlp: norm("post_feedforward_layernorm")?,
                    },
                    Norms::After => Wiring::PostNorms {
                        after_attention: norm("post_attention_layernorm")?,
                        after_mlp: norm("post_feedforward_layernorm")?,
                    },
                },
            })
        })?;
        Ok(Decoder {
            name: String::new(),
            input: Input {
                tokens: loader.embedding("embed_tokens", self.n_vocab, d_model)?,
                scale: self.embed_scale,
                project: None,
                positions: None,
            },
            blocks,
            final_norm: Some(loader.rms_norm("norm", d_model, eps, self.norm_stored_less)?),
            shape: ModelShape {
                family: self.family.into(),
                n_layers,
                d_model,
                d_attn: self.n_heads * self.d_head,
                d_kv: self.n_kv_heads * self.d_head,
                d_mlp,
                d_token: d_model,
                n_vocab: self.n_vocab,
                max_context: config.optional_size("max_position_embeddings")?.map(|n| self.rope.longest(n)),
                n_parameters: loader.n_parameters(),
                n_block_parameters: loader.n_block_parameters(),
                block: self.norms.block(),
                gated: true,
                layer_norm: false,
            },
        })
    }

    fn attention(
        &self,
        loader: &Loader,
        l: usize,
        d_model: usize,
        eps: f64,
        rotary: &Arc<Rotary>,
    ) -> Result<Attention> {
        let at = |name: &str| format!("layers.{l}.self_attn.{name}");
        let (d_query, d_key) = (self.n_heads * self.d_head, self.n_kv_heads * self.d_head);
        let norm = |name: &str, width: usize| loader.rms_norm(&at(name), width, eps, self.norm_stored_less);
        let qkv = |name: &str, n_out: usize| loader.linear(&at(name), d_model, n_out, self.qkv_bias);
        Ok(Attention {
            projections: if self.fused {
                Projections::Stacked(qkv("qkv_proj", d_query + 2 * d_key)?)
            } else {
                let (query, key) = (qkv("q_proj", d_query)?, qkv("k_proj", d_key)?);
                Projections::Separate { query, key, value: qkv("v_proj", d_key)? }
            },
            n_heads: self.n_heads,
            n_kv_heads: self.n_kv_heads,
            d_head: self.d_head,
            qk_norms: match self.head_norms {
                HeadNorms::Absent => None,
                HeadNorms::Each => Some((norm("q_norm", self.d_head)?, norm("k_norm", self.d_head)?)),
                HeadNorms::Together => Some((norm("q_norm", d_query)?, norm("k_norm", d_key)?)),
            },
            rotary: self.turned[l].then(|| rotary.clone()),
            scores: Scores {
                scale: self.score_scale,
                soft_cap: self.soft_cap,
                window: self.window.filter(|_| self.sliding[l]),
            },
            output: loader.linear(&at("o_proj"), d_query, d_model, self.output_bias)?,
        })
    }

    fn mlp(&self, loader: &Loader, l: usize, d_model: usize, d_mlp: usize) -> Result<Mlp> {
        let at = |name: &str| format!("layers.{l}.mlp.{name}");
        let [gate, up] = if self.fused {
            loader.linears(&at("gate_up_proj"), d_model, [d_mlp; 2], self.mlp_bias)?
        } else {
            let one = |name: &str| loader.linear(&at(name), d_model, d_mlp, self.mlp_bias);
            [one("gate_proj")?, one("up_proj")?]
        };
        Ok(Mlp {
            gate: Some(gate),
            up,
            activation: self.activation,
            down: loader.linear(&at("down_proj"), d_mlp, d_model, self.mlp_bias)?,
        })
    }
}
