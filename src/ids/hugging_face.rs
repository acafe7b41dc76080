//! What do the module paths of Hugging Face's transformers mean? A path is its module's output; with `.input` behind it,
//! what the module is called with (`model.layers.3.mlp.down_proj.input`), and `.output` may be written out.
//!
//! One table for each of transformers' classes. `tests/hookpoints.rs` compares them with module hooks.

use super::place::*;

const fn m(path: &'static str, input: PlaceOf, output: PlaceOf) -> Module {
    Module { path, input, output }
}

const BLOCK: &[Module] = &[m("", resid_pre, resid_post)];

const LLAMA_NORMS: &[Module] =
    &[m("input_layernorm", resid_pre, attn_in), m("post_attention_layernorm", mlp_stream, mlp_in)];
const GEMMA_NORMS: &[Module] = &[
    m("input_layernorm", resid_pre, attn_in),
    m("post_attention_layernorm", attn_out, attn_out_normed),
    m("pre_feedforward_layernorm", mlp_stream, mlp_in),
    m("post_feedforward_layernorm", mlp_out, mlp_out_normed),
];
const POST_NORMS: &[Module] = &[
    m("post_attention_layernorm", attn_out, attn_out_normed),
    m("post_feedforward_layernorm", mlp_out, mlp_out_normed),
];

const SELF_ATTN: &[Module] = &[
    m("self_attn", attn_in, attn_out),
    m("self_attn.q_proj", attn_in, attn_q),
    m("self_attn.k_proj", attn_in, attn_k),
    m("self_attn.v_proj", attn_in, attn_v),
];
const O_PROJ: &[Module] = &[m("self_attn.o_proj", attn_z, attn_out)];

const GATED_MLP: &[Module] = &[
    m("mlp", mlp_in, mlp_out),
    m("mlp.gate_proj", mlp_in, mlp_pre),
    m("mlp.up_proj", mlp_in, mlp_up),
    m("mlp.act_fn", mlp_pre, mlp_gate_act),
    m("mlp.down_proj", mlp_act, mlp_out),
];

const ROOT: &[Module] = &[m("embed_tokens", not_read, token_embed), m("norm", not_read, final_norm)];

pub(super) const LLAMA: Modules = Modules {
    // some checkpoints hold the language model together with another model
    roots: &["model.", "model.language_model.", "language_model.model.", "language_model.", ""],
    blocks: "layers",
    in_block: &[BLOCK, SELF_ATTN, O_PROJ, GATED_MLP, LLAMA_NORMS],
    alone: ROOT,
};

pub(super) const GEMMA2: Modules = Modules { in_block: &[BLOCK, SELF_ATTN, O_PROJ, GATED_MLP, GEMMA_NORMS], ..LLAMA };

pub(super) const OLMO2: Modules = Modules { in_block: &[BLOCK, SELF_ATTN, O_PROJ, GATED_MLP, POST_NORMS], ..LLAMA };

pub(super) const PHI3: Modules = Modules {
    in_block: &[
        BLOCK,
        O_PROJ,
        LLAMA_NORMS,
        &[
            m("self_attn", attn_in, attn_out),
            m("self_attn.qkv_proj", attn_in, not_read),
            m("mlp", mlp_in, mlp_out),
            m("mlp.gate_up_proj", mlp_in, not_read),
            m("mlp.activation_fn", mlp_pre, mlp_gate_act),
            m("mlp.down_proj", mlp_act, mlp_out),
        ],
    ],
    ..LLAMA
};

pub(super) const STARCODER2: Modules = Modules {
    in_block: &[
        BLOCK,
        SELF_ATTN,
        O_PROJ,
        LLAMA_NORMS,
        &[
            m("mlp", mlp_in, mlp_out),
            m("mlp.c_fc", mlp_in, mlp_pre),
            m("mlp.act", mlp_pre, mlp_act),
            m("mlp.c_proj", mlp_act, mlp_out),
        ],
    ],
    ..LLAMA
};

pub(super) const PHI: Modules = Modules {
    in_block: &[
        BLOCK,
        SELF_ATTN,
        &[
            m("self_attn.dense", attn_z, attn_out),
            m("mlp", mlp_in, mlp_out),
            m("mlp.fc1", mlp_in, mlp_pre),
            m("mlp.activation_fn", mlp_pre, mlp_act),
            m("mlp.fc2", mlp_act, mlp_out),
            m("input_layernorm", resid_pre, attn_in),
        ],
    ],
    alone: &[m("embed_tokens", not_read, token_embed), m("final_layernorm", not_read, final_norm)],
    ..LLAMA
};

pub(super) const GPT_NEOX: Modules = Modules {
    roots: &["gpt_neox.", ""],
    blocks: "layers",
    in_block: &[
        BLOCK,
        &[
            m("attention", attn_in, attn_out),
            m("attention.query_key_value", attn_in, not_read),
            m("attention.dense", attn_z, attn_out),
            m("mlp", mlp_in, mlp_out),
            m("mlp.dense_h_to_4h", mlp_in, mlp_pre),
            m("mlp.act", mlp_pre, mlp_act),
            m("mlp.dense_4h_to_h", mlp_act, mlp_out),
        ],
        LLAMA_NORMS,
    ],
    alone: &[m("embed_in", not_read, token_embed), m("final_layer_norm", not_read, final_norm)],
};

const GPT_ROOT: &[Module] =
    &[m("wte", not_read, token_embed), m("drop", embed, embed), m("ln_f", not_read, final_norm)];
const GPT_MLP: &[Module] = &[
    m("mlp", mlp_in, mlp_out),
    m("mlp.c_fc", mlp_in, mlp_pre),
    m("mlp.act", mlp_pre, mlp_act),
    m("mlp.c_proj", mlp_act, mlp_out),
];
const GPT_NORMS: &[Module] = &[m("ln_1", resid_pre, attn_in), m("ln_2", mlp_stream, mlp_in)];

pub(super) const GPT2: Modules = Modules {
    roots: &["transformer.", ""],
    blocks: "h",
    in_block: &[
        BLOCK,
        &[m("attn", attn_in, attn_out), m("attn.c_attn", attn_in, not_read), m("attn.c_proj", attn_z, attn_out)],
        GPT_MLP,
        GPT_NORMS,
    ],
    alone: GPT_ROOT,
};

pub(super) const GPT_NEO: Modules = Modules {
    in_block: &[
        BLOCK,
        &[
            m("attn", attn_in, attn_out),
            m("attn.attention", attn_in, attn_out),
            m("attn.attention.q_proj", attn_in, attn_q),
            m("attn.attention.k_proj", attn_in, attn_k),
            m("attn.attention.v_proj", attn_in, attn_v),
            m("attn.attention.out_proj", attn_z, attn_out),
        ],
        GPT_MLP,
        GPT_NORMS,
    ],
    ..GPT2
};

pub(super) const GPTJ: Modules = Modules {
    in_block: &[
        BLOCK,
        &[
            m("attn", attn_in, attn_out),
            m("attn.q_proj", attn_in, attn_q),
            m("attn.k_proj", attn_in, attn_k),
            m("attn.v_proj", attn_in, attn_v),
            m("attn.out_proj", attn_z, attn_out),
            m("mlp", mlp_in, mlp_out),
            m("mlp.fc_in", mlp_in, mlp_pre),
            m("mlp.act", mlp_pre, mlp_act),
            m("mlp.fc_out", mlp_act, mlp_out),
            m("ln_1", resid_pre, attn_in),
        ],
    ],
    ..GPT2
};

const FALCON_PARTS: &[Module] = &[
    m("self_attention", attn_in, attn_out),
    m("self_attention.query_key_value", attn_in, not_read),
    m("self_attention.dense", attn_z, attn_out),
    m("mlp", mlp_in, mlp_out),
    m("mlp.dense_h_to_4h", mlp_in, mlp_pre),
    m("mlp.act", mlp_pre, mlp_act),
    m("mlp.dense_4h_to_h", mlp_act, mlp_out),
];
const FALCON_ROOT: &[Module] = &[m("word_embeddings", not_read, token_embed), m("ln_f", not_read, final_norm)];

pub(super) const FALCON: Modules = Modules {
    in_block: &[
        BLOCK,
        FALCON_PARTS,
        &[m("input_layernorm", resid_pre, attn_in), m("post_attention_layernorm", second_norm_in, second_norm_out)],
    ],
    alone: FALCON_ROOT,
    ..GPT2
};

pub(super) const FALCON_NEW: Modules = Modules {
    in_block: &[BLOCK, FALCON_PARTS, &[m("ln_attn", resid_pre, attn_in), m("ln_mlp", mlp_stream, mlp_in)]],
    alone: FALCON_ROOT,
    ..GPT2
};

const OPT_PARTS: &[Module] = &[
    m("self_attn.out_proj", attn_z, attn_out),
    m("fc1", mlp_in, mlp_pre),
    m("activation_fn", mlp_pre, mlp_act),
    m("fc2", mlp_act, mlp_out),
];

pub(super) const OPT: Modules = Modules {
    roots: &["model.decoder.", "decoder.", ""],
    blocks: "layers",
    in_block: &[
        BLOCK,
        SELF_ATTN,
        OPT_PARTS,
        &[
            m("self_attn_layer_norm", first_norm_in, first_norm_out),
            m("final_layer_norm", second_norm_in, second_norm_out),
        ],
    ],
    alone: &[m("embed_tokens", not_read, token_embed), m("final_layer_norm", not_read, final_norm)],
};

pub(super) const OPT_AFTER: Modules = Modules { alone: &[m("embed_tokens", not_read, token_embed)], ..OPT };
