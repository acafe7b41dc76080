//! Names of things, as types, so that two numbers cannot change places.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Number of a batch, from 0 in corpus order. It is the timestamp of everything made from the batch.
pub type BatchIndex = u64;

/// A place inside a transformer where activations are read.
///
/// The written form is `resid_post.3`, `embed`, `final_norm` …; the aliases of TransformerLens
/// (`blocks.3.hook_resid_post`), of sparsify (`layers.3`, `layers.3.mlp`) and Hugging Face module paths are read too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Hookpoint {
    /// What enters block 0, `[n_tokens, d_model]`.
    Embed,
    /// What enters block L (for L > 0 the same as `ResidPost(L - 1)`).
    ResidPre(usize),
    /// Output of attention's heads, concatenated: what enters the output projection, `[n_tokens, n_heads * d_head]`.
    AttnZ(usize),
    /// Output of the attention's output projection, bias included.
    AttnOut(usize),
    /// `AttnOut` after the family's post-norm, where there is one.
    AttnOutNormed(usize),
    /// What enters the MLP, after its norm.
    MlpIn(usize),
    /// Output of the MLP's last linear layer, bias included.
    MlpOut(usize),
    /// `MlpOut` after the family's post-norm, where there is one.
    MlpOutNormed(usize),
    /// Output of block L, before any final norm.
    ResidPost(usize),
    /// Output of the final norm.
    FinalNorm,
}

impl Hookpoint {
    /// The block it is in; `None` for `embed` and `final_norm`.
    pub fn layer(self) -> Option<usize> {
        use Hookpoint::*;
        match self {
            ResidPre(l) | AttnZ(l) | AttnOut(l) | AttnOutNormed(l) | MlpIn(l) | MlpOut(l) | MlpOutNormed(l)
            | ResidPost(l) => Some(l),
            Embed | FinalNorm => None,
        }
    }

    /// The same place `blocks` further down (negative: up); `None` where there is no such block.
    pub fn shifted(self, blocks: isize) -> Option<Hookpoint> {
        use Hookpoint::*;
        let moved = |l: usize| l.checked_add_signed(blocks);
        Some(match self {
            ResidPre(l) => ResidPre(moved(l)?),
            AttnZ(l) => AttnZ(moved(l)?),
            AttnOut(l) => AttnOut(moved(l)?),
            AttnOutNormed(l) => AttnOutNormed(moved(l)?),
            MlpIn(l) => MlpIn(moved(l)?),
            MlpOut(l) => MlpOut(moved(l)?),
            MlpOutNormed(l) => MlpOutNormed(moved(l)?),
            ResidPost(l) => ResidPost(moved(l)?),
            Embed | FinalNorm => return None,
        })
    }
}

impl fmt::Display for Hookpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Hookpoint::*;
        match self {
            Embed => f.write_str("embed"),
            ResidPre(l) => write!(f, "resid_pre.{l}"),
            AttnZ(l) => write!(f, "attn_z.{l}"),
            AttnOut(l) => write!(f, "attn_out.{l}"),
            AttnOutNormed(l) => write!(f, "attn_out_normed.{l}"),
            MlpIn(l) => write!(f, "mlp_in.{l}"),
            MlpOut(l) => write!(f, "mlp_out.{l}"),
            MlpOutNormed(l) => write!(f, "mlp_out_normed.{l}"),
            ResidPost(l) => write!(f, "resid_post.{l}"),
            FinalNorm => f.write_str("final_norm"),
        }
    }
}

impl FromStr for Hookpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse_hookpoint(text).ok_or_else(|| {
            Error::request(format!(
                "hookpoint {text:?} is not known; write embed, resid_pre.L, resid_post.L, attn_z.L, attn_out.L, mlp_in.L, \
                 mlp_out.L, attn_out_normed.L, mlp_out_normed.L or final_norm (TransformerLens and sparsify names are read too)"
            ))
        })
    }
}

fn parse_hookpoint(text: &str) -> Option<Hookpoint> {
    use Hookpoint::*;
    match text {
        "embed" | "hook_embed" | "embed_tokens" | "gpt_neox.embed_in" | "model.embed_tokens" => return Some(Embed),
        "final_norm" | "ln_final.hook_normalized" | "gpt_neox.final_layer_norm" | "model.norm" | "transformer.ln_f" => {
            return Some(FinalNorm);
        }
        _ => {}
    }
    let own = |name: &str, l: usize| {
        Some(match name {
            "resid_pre" => ResidPre(l),
            "resid_post" => ResidPost(l),
            "attn_z" => AttnZ(l),
            "attn_out" => AttnOut(l),
            "attn_out_normed" => AttnOutNormed(l),
            "mlp_in" => MlpIn(l),
            "mlp_out" => MlpOut(l),
            "mlp_out_normed" => MlpOutNormed(l),
            _ => return None,
        })
    };
    if let Some((name, l)) = text.split_once('.')
        && let Ok(l) = l.parse()
        && let Some(h) = own(name, l)
    {
        return Some(h);
    }
    // TransformerLens: blocks.L.<rest>
    if let Some(rest) = text.strip_prefix("blocks.") {
        let (l, rest) = rest.split_once('.')?;
        let l: usize = l.parse().ok()?;
        return Some(match rest {
            "hook_resid_pre" => ResidPre(l),
            "hook_resid_post" => ResidPost(l),
            "hook_mlp_out" => MlpOut(l),
            "hook_attn_out" => AttnOut(l),
            "attn.hook_z" => AttnZ(l),
            "hook_mlp_in" | "ln2.hook_normalized" | "mlp.hook_in" => MlpIn(l),
            _ => return None,
        });
    }
    // sparsify and Hugging Face module paths: [model.|gpt_neox.|transformer.|…](layers|h).L[.module]
    let mut path = text;
    for prefix in
        ["base_model.", "gpt_neox.", "transformer.", "language_model.", "model.", "decoder.", "model.decoder."]
    {
        path = path.strip_prefix(prefix).unwrap_or(path);
    }
    let rest = path.strip_prefix("layers.").or_else(|| path.strip_prefix("h."))?;
    let (l, module) = rest.split_once('.').unwrap_or((rest, ""));
    let l: usize = l.parse().ok()?;
    Some(match module {
        "" => ResidPost(l),
        "mlp" | "mlp.dense_4h_to_h" | "mlp.down_proj" | "mlp.c_proj" | "fc2" => MlpOut(l),
        "attention" | "self_attn" | "attn" | "attention.dense" | "self_attn.o_proj" | "attn.c_proj"
        | "self_attn.dense" | "self_attn.out_proj" => AttnOut(l),
        "post_feedforward_layernorm" => MlpOutNormed(l),
        _ => return None,
    })
}

impl TryFrom<String> for Hookpoint {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Hookpoint> for String {
    fn from(h: Hookpoint) -> String {
        h.to_string()
    }
}

/// A hookpoint of a named model, written `model/hookpoint`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Site {
    /// The model's name in the dataflow file.
    pub model: String,
    /// The place in it.
    pub hookpoint: Hookpoint,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.model, self.hookpoint)
    }
}

impl FromStr for Site {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let (model, hookpoint) = text.split_once('/').ok_or_else(|| {
            Error::request(format!("{text:?} is not of the form MODEL/HOOKPOINT, for example small-a/resid_post.2"))
        })?;
        Ok(Site {
            model: model.to_string(),
            hookpoint: hookpoint.parse().map_err(|e: Error| e.within(format!("{text:?}")))?,
        })
    }
}

impl TryFrom<String> for Site {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Site> for String {
    fn from(s: Site) -> String {
        s.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_form_reads_back_and_aliases_agree() {
        for text in
            ["embed", "resid_pre.0", "resid_post.11", "attn_z.2", "attn_out.3", "mlp_in.4", "mlp_out.5", "final_norm"]
        {
            assert_eq!(text.parse::<Hookpoint>().unwrap().to_string(), text);
        }
        for (alias, own) in [
            ("layers.3", "resid_post.3"),
            ("layers.3.mlp", "mlp_out.3"),
            ("blocks.7.hook_resid_post", "resid_post.7"),
            ("blocks.7.attn.hook_z", "attn_z.7"),
            ("gpt_neox.layers.2.mlp.dense_4h_to_h", "mlp_out.2"),
            ("model.layers.9", "resid_post.9"),
            ("transformer.h.1.attn.c_proj", "attn_out.1"),
        ] {
            assert_eq!(alias.parse::<Hookpoint>().unwrap().to_string(), own, "{alias}");
        }
        for bad in ["", "resid_post", "resid_post.", "resid_post.x", "layers", "blocks.1.hook_nothing", "resid_post.-1"]
        {
            assert!(bad.parse::<Hookpoint>().is_err(), "{bad}");
        }
    }
}
