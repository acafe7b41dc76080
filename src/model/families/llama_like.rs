//! What the Llama-like families have in common: RMSNorm, rotary attention with grouped queries, a gated MLP. Each family
//! is a [`Variant`] that holds where it differs.

use crate::error::Result;
use crate::model::activation_function::ActivationFunction;
use crate::model::architecture::{
    Architecture, AttentionSpec, BlockSpec, InputSpec, LayerSpec, LinearSpec, MlpSpec, NormSpec, Projections,
    RotarySpec, Scores, StoredOrder, Wiring, linear, table,
};
use crate::model::config::Config;
use crate::model::keys::{Key, harmless, read, read_or_null};
use crate::model::rotary::Rope;

/// Keys of the whole variant.
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

/// Where a family differs from the others.
pub struct Variant {
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
    /// Where the norms of a block are.
    pub norms: Norms,
    /// Added to the mean square where the configuration has no value.
    pub default_eps: f64,
    /// Whether query, key and value are stored as one layer, and gate and up (Phi-3).
    pub fused: bool,
    /// What the stored norm weights lack: 1 for Gemma.
    pub norm_stored_less: f32,
    /// Multiplies the token rows.
    pub embed_scale: Option<f32>,
    /// f of the gate.
    pub activation: ActivationFunction,
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

/// Where the norms of a block are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norms {
    /// Before attention and MLP.
    Before,
    /// Before and after them (Gemma 2 and 3).
    Around,
    /// After them (OLMo 2).
    After,
}

impl Variant {
    /// The family as it is most often: as many key heads as query heads, no biases, no head norms, no window, SiLU, scores
    /// over the root of the width. `hidden_act` is read where there is no activation of another name.
    ///
    /// # Errors
    /// `Input` when a size is missing or impossible.
    pub fn plain(family: &'static str, config: &Config, d_head: usize, rope: Rope) -> Result<Self> {
        let n_heads = config.size("num_attention_heads")?;
        Ok(Variant {
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
            activation: ActivationFunction::Silu,
            score_scale: 1.0 / (d_head as f32).sqrt(),
            soft_cap: None,
            turned: vec![true; config.n_blocks("num_hidden_layers")?],
            window: None,
            sliding: vec![false; config.n_blocks("num_hidden_layers")?],
            sliding_rope: None,
            rope,
        })
    }

    /// The architecture of this family; the prefix `model.` may be missing, `language_model.` may be around it.
    ///
    /// # Errors
    /// `Input` when a size is missing or impossible.
    pub fn describe(self, config: &Config) -> Result<Architecture> {
        let d_model = config.size("hidden_size")?;
        let d_mlp = config.size("intermediate_size")?;
        let eps = config.number_or("rms_norm_eps", self.default_eps)?;
        let norm = |name| NormSpec::Rms { name, width: d_model, eps, stored_less: self.norm_stored_less };
        let layer = |l: usize| LayerSpec {
            scores: Scores {
                scale: self.score_scale,
                soft_cap: self.soft_cap,
                window: self.window.filter(|_| self.sliding[l]),
            },
            rotary: self.turned[l].then_some(usize::from(self.sliding[l] && self.sliding_rope.is_some())),
        };
        Ok(Architecture {
            family: self.family,
            prefixes: &["model.", "", "language_model.model.", "model.language_model."],
            tied: false,
            max_context: config.optional_size("max_position_embeddings")?.map(|n| self.rope.longest(n)),
            input: InputSpec {
                scale: self.embed_scale,
                ..InputSpec::plain(table("embed_tokens", self.n_vocab, d_model))
            },
            blocks_under: "layers.",
            block: BlockSpec {
                attention: self.attention(d_model, eps),
                mlp: self.mlp(d_model, d_mlp),
                wiring: match self.norms {
                    Norms::Before => Wiring::Sequential(norm("input_layernorm"), norm("post_attention_layernorm")),
                    Norms::Around => Wiring::Sandwich {
                        before_attention: norm("input_layernorm"),
                        after_attention: norm("post_attention_layernorm"),
                        before_mlp: norm("pre_feedforward_layernorm"),
                        after_mlp: norm("post_feedforward_layernorm"),
                    },
                    Norms::After => Wiring::PostNorms {
                        after_attention: norm("post_attention_layernorm"),
                        after_mlp: norm("post_feedforward_layernorm"),
                    },
                },
            },
            layers: (0..self.sliding.len()).map(layer).collect(),
            final_norm: Some(norm("norm")),
            rotations: [self.rope].into_iter().chain(self.sliding_rope).map(RotarySpec::of_halves).collect(),
        })
    }

    fn attention(&self, d_model: usize, eps: f64) -> AttentionSpec {
        let (d_query, d_key) = (self.n_heads * self.d_head, self.n_kv_heads * self.d_head);
        let norm = |name, width| NormSpec::Rms { name, width, eps, stored_less: self.norm_stored_less };
        let qkv = |name, n_out| linear(name, d_model, n_out, self.qkv_bias);
        AttentionSpec {
            projections: if self.fused {
                Projections::Stacked(qkv("self_attn.qkv_proj", d_query + 2 * d_key))
            } else {
                Projections::Separate {
                    query: qkv("self_attn.q_proj", d_query),
                    key: qkv("self_attn.k_proj", d_key),
                    value: qkv("self_attn.v_proj", d_key),
                }
            },
            n_heads: self.n_heads,
            n_kv_heads: self.n_kv_heads,
            d_head: self.d_head,
            qk_norms: match self.head_norms {
                HeadNorms::Absent => None,
                HeadNorms::Each => Some((norm("self_attn.q_norm", self.d_head), norm("self_attn.k_norm", self.d_head))),
                HeadNorms::Together => Some((norm("self_attn.q_norm", d_query), norm("self_attn.k_norm", d_key))),
            },
            output: linear("self_attn.o_proj", d_query, d_model, self.output_bias),
        }
    }

    fn mlp(&self, d_model: usize, d_mlp: usize) -> MlpSpec {
        let one = |name| linear(name, d_model, d_mlp, self.mlp_bias);
        let half = |first| LinearSpec { stored: StoredOrder::Part { first, of: 2 * d_mlp }, ..one("mlp.gate_up_proj") };
        let [gate, up] = if self.fused { [half(0), half(d_mlp)] } else { [one("mlp.gate_proj"), one("mlp.up_proj")] };
        MlpSpec {
            gate: Some(gate),
            up,
            activation: self.activation,
            down: linear("mlp.down_proj", d_mlp, d_model, self.mlp_bias),
        }
    }
}
