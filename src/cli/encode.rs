//! What does one SAE make of given activations? `cognate encode`: a matrix in, dense latents out, no corpus and no run.
//!
//! The input is a tensor `[…, d_in]` of any float type in a safetensors file; the output holds `latents` `[…, d_sae]`
//! f32 and, when asked, `reconstruction` `[…, d_out]` f32. The reconstruction is the SAE's forward pass, the skip
//! connection included where it has one.

use crate::device::Compute;
use crate::disk;
use crate::error::{Error, Result};
use crate::hub::registry;
use crate::linalg::Matrix;
use crate::sae::{self, Encode, Format, LatentBatch, Reading, Scale};
use crate::store::AtomicFile;
use std::io::Write;
use std::path::Path;

/// Refuses an output that is the input.
///
/// # Errors
/// `Request`.
pub fn check_apart(input: &Path, out: &Path) -> Result<()> {
    let is_same = disk::canonicalize(input).ok().zip(disk::canonicalize(out).ok()).is_some_and(|(a, b)| a == b);
    if is_same {
        return Err(Error::request(format!(
            "--out {} is the input, which would be lost; write elsewhere",
            out.display()
        )));
    }
    Ok(())
}

/// Rows encoded before their dense form is written, so that `[n, d_sae]` is never in memory.
const ROWS_AT_ONCE: usize = 1024;

/// Encodes tensor `tensor` of `input` (the only one where it is `None`) with the SAE at `sae` and writes `out`: a temporary file, then renamed. An SAE in the cache
/// is read with the scale of SAELens' registry; a word is given back where a factor is missing and the input is taken as it is.
///
/// # Errors
/// `Request` for a missing file or tensor, an SAE of no known format, or activations of another width; `Input` for damaged
/// files and rows that are not finite; `Machine` when `out` cannot be written.
pub fn encode(
    sae: &Path,
    input: &Path,
    tensor: Option<&str>,
    out: &Path,
    decode: bool,
    format: Option<Format>,
    compute: Compute,
) -> Result<Option<String>> {
    check_apart(input, out)?;
    compute.check_here()?;
    let facts = registry::facts(&sae.to_string_lossy());
    let overrides = facts.as_ref().map(|facts| facts.overrides.clone()).unwrap_or_default();
    let mut reading = Reading { overrides, ..Reading::of(format) };
    let missing = sae::header_as(sae, &reading)?.declared.scale == Scale::Missing;
    reading.scale = facts.and_then(|facts| facts.scale).filter(|_| missing);
    let warning = (missing && reading.scale.is_none()).then(|| {
        format!(
            "the SAE in {} asks for a factor that its files do not hold (expected_average_only_in); the input is taken as it is",
            sae.display()
        )
    });
    let sae = sae::open_as(sae, &reading)?.computed(&[compute])?;
    let (shape, x) = sae::read_activations(input, tensor)?;
    let (d_sae, d_out) = (sae.shape().d_sae, sae.shape().d_out);
    let header = header(&shape, x.n_rows(), d_sae, decode.then_some(d_out));
    let mut file = AtomicFile::create(out)?;
    let put = |file: &mut AtomicFile, bytes: &[u8]| file.write_all(bytes).map_err(|e| file.error(&e));
    put(&mut file, &header)?;
    let mut reconstruction = Vec::new();
    let mut dense = vec![0f32; d_sae];
    for first in (0..x.n_rows()).step_by(ROWS_AT_ONCE) {
        let rows = first..x.n_rows().min(first + ROWS_AT_ONCE);
        let part = x.as_slice()[rows.start * x.n_cols()..rows.end * x.n_cols()].to_vec();
        let part = Matrix::from_vec(rows.len(), x.n_cols(), part);
        let told = |e: Error| {
            let named = tensor.map_or(String::new(), |name| format!(": tensor {name:?}"));
            let rows = if first == 0 { String::new() } else { format!(", rows counted from {first}") };
            e.within(format!("{}{named}{rows}", input.display()))
        };
        let latents: LatentBatch = sae.encode(&part, Encode::Sparse).map_err(told)?;
        for r in 0..latents.n_rows() {
            dense.fill(0.0);
            let (active, values) = latents.row(r);
            active.iter().zip(values).for_each(|(&latent, &value)| dense[latent as usize] = value);
            put(&mut file, &little_endian(&dense))?;
        }
        if decode {
            reconstruction.extend(sae.decode(&latents, &part).map_err(told)?.into_vec());
        }
    }
    for part in reconstruction.chunks(ROWS_AT_ONCE * d_out) {
        put(&mut file, &little_endian(part))?;
    }
    file.commit()?;
    Ok(warning)
}

/// The head of a safetensors file with `latents` and perhaps `reconstruction`, padded to 8 bytes.
fn header(shape: &[usize], n_rows: usize, d_sae: usize, d_out: Option<usize>) -> Vec<u8> {
    let mut end = 0;
    let mut tensor = |width: usize| {
        let start = end;
        end += n_rows * width * 4;
        let mut shape = shape.to_vec();
        *shape.last_mut().expect("activations have two sides or more") = width;
        serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] })
    };
    let mut tensors = serde_json::Map::new();
    tensors.insert("latents".into(), tensor(d_sae));
    if let Some(d_out) = d_out {
        tensors.insert("reconstruction".into(), tensor(d_out));
    }
    let mut text = serde_json::Value::Object(tensors).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    [&(text.len() as u64).to_le_bytes(), text.as_slice()].concat()
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
