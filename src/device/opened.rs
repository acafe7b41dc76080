//! What is a device once it is open?
//!
//! The tensor library gives every thread a stream of its own on a CUDA device, and one handle of cuBLAS to all of them. Streams do not
//! wait for each other, and what that handle multiplies in two streams at once need not be the same bits each time. So whatever runs
//! there runs [alone](Opened::alone) and is [finished](Opened::finish) before another thread's turn comes; what then comes back may
//! come while the next one runs.

use super::compute::{Compute, DeviceName, Dtype};
use crate::error::{Error, Result};
use candle_core::{DType, Device, Shape, Tensor};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A device of the tensor library, and the numbers that are used on it.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Where tensors lie.
    pub device: Device,
    /// What they are made of.
    pub dtype: DType,
    turn: Arc<Mutex<()>>,
}

/// CUDA devices that are open, by number, with their turns: tensors of two handles of one device could not meet in one product.
static OPEN: Mutex<BTreeMap<usize, (Device, Arc<Mutex<()>>)>> = Mutex::new(BTreeMap::new());

impl Opened {
    /// Opens the device of `compute`, or finds it open.
    ///
    /// # Errors
    /// `Machine` when it cannot be opened.
    pub fn of(compute: Compute) -> Result<Opened> {
        let (device, turn) = match compute.device {
            DeviceName::Cpu => (Device::Cpu, Arc::default()),
            DeviceName::Cuda(number) => cuda(number)?,
        };
        let dtype = match compute.dtype {
            Dtype::F32 => DType::F32,
            Dtype::Bf16 => DType::BF16,
            Dtype::F16 => DType::F16,
        };
        Ok(Opened { device, dtype, turn })
    }

    /// A tensor of `values` there.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    pub fn tensor(&self, values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        Tensor::from_vec(values, shape, &self.device).and_then(|x| x.to_dtype(self.dtype)).map_err(Opened::failed)
    }

    /// Has the device to oneself until what this gives is dropped. This machine's processor is shared as it always was: nothing is given.
    ///
    /// Who holds it must not wait for other threads of this process, which may wait for it.
    pub fn alone(&self) -> Option<MutexGuard<'_, ()>> {
        // a thread that ended badly left nothing half done: whatever it asked for is its own
        (!self.device.is_cpu()).then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the device has done what this thread has asked of it.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    pub fn finish(&self) -> Result<()> {
        self.device.synchronize().map_err(Opened::failed)
    }

    /// An error of the tensor library. Shapes are checked before, so it is the machine's (memory, device).
    pub fn failed(e: candle_core::Error) -> Error {
        Error::machine(format!("a tensor operation failed: {}", in_short(&e)))
    }
}

fn cuda(number: usize) -> Result<(Device, Arc<Mutex<()>>)> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = open.get(&number) {
        return Ok(found.clone());
    }
    let device = Device::new_cuda(number)
        .map_err(|e| Error::machine(format!("cuda:{number} cannot be opened: {}; check nvidia-smi", in_short(&e))))?;
    Ok(open.entry(number).or_insert((device, Arc::default())).clone())
}

/// The error without the stack that the library puts behind it where `RUST_BACKTRACE` is set.
fn in_short(e: &candle_core::Error) -> String {
    e.to_string().lines().next().unwrap_or_default().to_string()
}
