//! How does a CUDA device choose? The kernels of `choose.cu`, compiled by NVRTC when they are first needed.

#![allow(unsafe_code, reason = "kernels are launched here and nowhere else")]

use super::{Choice, Chosen};
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::cudarc::nvrtc::compile_ptx;
use candle_core::{Device, Error, Result, Storage, Tensor};
use std::sync::OnceLock;

/// What the device runs.
const KERNELS: &str = include_str!("choose.cu");

/// Threads of a block, as in `choose.cu`.
const THREADS: u32 = 256;

/// The kernels as the device's driver takes them.
fn compiled() -> Result<&'static str> {
    static COMPILED: OnceLock<std::result::Result<String, String>> = OnceLock::new();
    let compile = || {
        let text = format!("#define KERNEL extern \"C\" __global__\n{KERNELS}");
        compile_ptx(text).map(|ptx| ptx.to_src()).map_err(|e| format!("{e:?}"))
    };
    COMPILED
        .get_or_init(compile)
        .as_deref()
        .map_err(|why| Error::msg(format!("the kernels that choose latents: {why}")))
}

/// What `choice` keeps of `z: [n_rows, d]` f32, which lies on a CUDA device.
pub fn chosen(z: &Tensor, choice: &Choice) -> Result<Chosen> {
    let z = z.contiguous()?;
    let (n_rows, d) = z.dims2()?;
    let Device::Cuda(device) = z.device() else { return Err(Error::msg("these products are not on a CUDA device")) };
    let (storage, layout) = z.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { return Err(Error::msg("these products are not on a CUDA device")) };
    let products = storage.as_cuda_slice::<f32>()?.slice(layout.start_offset()..layout.start_offset() + n_rows * d);
    let size = |n: usize| u32::try_from(n).map_err(|_| Error::msg("more latents than a device counts"));
    let (rows, width) = (size(n_rows)?, size(d)?);
    // an empty one is not read
    let there = |v: &[f32]| if v.is_empty() { device.clone_htod(&[0.0f32]) } else { device.clone_htod(v) };
    let [a, b, c] = choice.vectors;
    let (a, b, c) = (there(a)?, there(b)?, there(c)?);
    let launch = LaunchConfig { grid_dim: (rows, 1, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 };

    let mut found = device.alloc_zeros::<u32>(4 * n_rows)?;
    let find = device.get_or_load_custom_func("find", "cognate_choose", compiled()?)?;
    let mut args = find.builder();
    args.arg(&products).arg(&a).arg(&b).arg(&c).arg(&width).arg(&choice.rule).arg(&choice.k).arg(&mut found);
    // SAFETY: the arguments are those of `find` in their order and types; block r reads row r of `products` and, where the rule has them,
    // `[d]` of a, b and c, and writes the four numbers of row r.
    unsafe { args.launch(launch) }.w()?;
    let rows_found = Chosen::rows_of(&device.clone_dtoh(&found)?);

    let mut starts = Vec::with_capacity(n_rows);
    let mut total = 0;
    for (count, _) in &rows_found {
        starts.push(size(total)?);
        total += count;
    }
    size(total)?;
    let starts = device.clone_htod(&starts)?;
    let mut latents = device.alloc_zeros::<u32>(total.max(1))?;
    let mut values = device.alloc_zeros::<f32>(total.max(1))?;
    let write = device.get_or_load_custom_func("write", "cognate_choose", compiled()?)?;
    let mut args = write.builder();
    args.arg(&products).arg(&a).arg(&b).arg(&c).arg(&width).arg(&choice.rule).arg(&choice.k);
    args.arg(&found).arg(&starts).arg(&mut latents).arg(&mut values);
    // SAFETY: as above; block r writes the entries of row r, which begin at `starts[r]` and are as many as `find` has counted by the same
    // rule of the same products: `total` of all rows.
    unsafe { args.launch(launch) }.w()?;
    let (mut latents, mut values) = (device.clone_dtoh(&latents)?, device.clone_dtoh(&values)?);
    latents.truncate(total);
    values.truncate(total);
    Ok(Chosen { rows: rows_found, latents, values })
}
