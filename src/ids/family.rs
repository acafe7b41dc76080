//! Which families are known, and how do they differ as far as names depend on it?
//!
//! A family is called by the `model_type` of its configuration. Where the configuration chooses between two arrangements of
//! a block, the rarer one is a family of its own here, `model_type/arrangement`.

use super::hugging_face;
use super::place::BlockKind::{self, After, Parallel, ParallelShared, PostNorms, Sandwich, Sequential};
use super::place::{Family, Modules};

const fn family(name: &'static str, block: BlockKind, modules: &'static Modules) -> Family {
    Family { name, block, gated: false, positions: false, modules }
}

const fn gated(name: &'static str, block: BlockKind, modules: &'static Modules) -> Family {
    Family { gated: true, ..family(name, block, modules) }
}

const fn with_positions(name: &'static str, block: BlockKind, modules: &'static Modules) -> Family {
    Family { positions: true, ..family(name, block, modules) }
}

/// Every family whose names are known.
pub(super) const FAMILIES: &[Family] = &[
    family("gpt_neox", Parallel, &hugging_face::GPT_NEOX),
    family("gpt_neox/sequential", Sequential, &hugging_face::GPT_NEOX),
    with_positions("gpt2", Sequential, &hugging_face::GPT2),
    with_positions("gpt_neo", Sequential, &hugging_face::GPT_NEO),
    with_positions("opt", Sequential, &hugging_face::OPT),
    with_positions("opt/after", After, &hugging_face::OPT_AFTER),
    gated("llama", Sequential, &hugging_face::LLAMA),
    gated("mistral", Sequential, &hugging_face::LLAMA),
    gated("qwen2", Sequential, &hugging_face::LLAMA),
    gated("qwen3", Sequential, &hugging_face::LLAMA),
    gated("gemma", Sequential, &hugging_face::LLAMA),
    gated("gemma2", Sandwich, &hugging_face::GEMMA2),
    gated("gemma3_text", Sandwich, &hugging_face::GEMMA2),
    gated("gemma3", Sandwich, &hugging_face::GEMMA2),
    family("phi", ParallelShared, &hugging_face::PHI),
    gated("phi3", Sequential, &hugging_face::PHI3),
    gated("olmo2", PostNorms, &hugging_face::OLMO2),
    gated("smollm3", Sequential, &hugging_face::LLAMA),
    family("starcoder2", Sequential, &hugging_face::STARCODER2),
    family("gptj", ParallelShared, &hugging_face::GPTJ),
    family("falcon", ParallelShared, &hugging_face::FALCON),
    family("falcon/parallel", Parallel, &hugging_face::FALCON_NEW),
    family("falcon/sequential", Sequential, &hugging_face::FALCON),
];
