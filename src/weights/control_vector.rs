//! How is a steering vector handed to llama.cpp? A GGUF file of version 3 with one tensor `direction.L`, which is added to the output of block L
//! (blocks from 0; L is 1 or more).

/// Bytes that tensor data is aligned to.
const ALIGNMENT: usize = 32;

/// Types of values and tensors.
const INT32: u32 = 5;
const STRING: u32 = 8;
const F32: u32 = 0;

/// The file that adds `direction` behind block `layer`, for models that call themselves `model_hint`.
pub fn control_vector(model_hint: &str, layer: usize, direction: &[f32]) -> Vec<u8> {
    let mut out = Vec::new();
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    };
    out.extend(b"GGUF");
    out.extend(3u32.to_le_bytes());
    // one tensor, three keys
    out.extend(1u64.to_le_bytes());
    out.extend(3u64.to_le_bytes());
    for (key, value) in [("general.architecture", "controlvector"), ("controlvector.model_hint", model_hint)] {
        text(&mut out, key);
        out.extend(STRING.to_le_bytes());
        text(&mut out, value);
    }
    text(&mut out, "controlvector.layer_count");
    out.extend(INT32.to_le_bytes());
    out.extend(1i32.to_le_bytes());
    text(&mut out, &format!("direction.{layer}"));
    out.extend(1u32.to_le_bytes());
    out.extend((direction.len() as u64).to_le_bytes());
    out.extend(F32.to_le_bytes());
    out.extend(0u64.to_le_bytes());
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    out.extend(direction.iter().flat_map(|v| v.to_le_bytes()));
    out
}
