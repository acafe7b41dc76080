//! What is a device once it is open?

use super::compute::{Compute, DeviceName, Dtype};
use crate::error::{Error, Result};
use candle_core::{DType, Device, Shape, Tensor};

/// A device of the tensor library, and the numbers that are used on it.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Where tensors lie.
    pub device: Device,
    /// What they are made of.
    pub dtype: DType,
}

impl Opened {
    /// Opens the device of `compute`.
    ///
    /// # Errors
    /// `Machine` when it cannot be opened.
    pub fn of(compute: Compute) -> Result<Opened> {
        let device = match compute.device {
            DeviceName::Cpu => Device::Cpu,
            DeviceName::Cuda(number) => Device::new_cuda(number).map_err(|e| {
                Error::machine(format!("cuda:{number} cannot be opened: {}; check nvidia-smi", in_short(&e)))
            })?,
        };
        let dtype = match compute.dtype {
            Dtype::F32 => DType::F32,
            Dtype::Bf16 => DType::BF16,
            Dtype::F16 => DType::F16,
        };
        Ok(Opened { device, dtype })
    }

    /// A tensor of `values` there.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    pub fn tensor(&self, values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        Tensor::from_vec(values, shape, &self.device).and_then(|x| x.to_dtype(self.dtype)).map_err(Opened::failed)
    }

    /// An error of the tensor library. Shapes are checked before, so it is the machine's (memory, device).
    pub fn failed(e: candle_core::Error) -> Error {
        Error::machine(format!("a tensor operation failed: {}", in_short(&e)))
    }
}

/// The error without the stack that the library puts behind it where `RUST_BACKTRACE` is set.
fn in_short(e: &candle_core::Error) -> String {
    e.to_string().lines().next().unwrap_or_default().to_string()
}
