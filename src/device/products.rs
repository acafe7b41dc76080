//! What are the products of rows and an encoder on a device?

use super::choose::{Choice, Chosen};
use super::compute::{Compute, DeviceName};
use super::opened::Opened;
use super::takes::Takes;
use crate::error::Result;
use candle_core::{DType, Tensor};

/// Products at most that come back at once, where they are of more than one row.
const MOST: usize = 32 << 20;

/// What comes back from a device.
#[derive(Clone, Debug)]
pub enum Made {
    /// All products, `[n_rows, d_sae]`.
    Products(Vec<f32>),
    /// What was kept of them.
    Chosen(Chosen),
}

/// An encoder on a device.
#[derive(Clone, Debug)]
pub struct Products {
    on: Opened,
    /// `[d_in, d_sae]`, laid out as its transpose
    weight: Tensor,
}

impl Products {
    /// Takes an encoder there, `[d_sae, d_in]` row-major.
    ///
    /// # Errors
    /// `Machine` when the device cannot be opened, or fails.
    pub fn new(compute: Compute, weight: Vec<f32>, [d_sae, d_in]: [usize; 2]) -> Result<Products> {
        let on = Opened::of(compute)?;
        let weight = on.tensor(weight, (d_sae, d_in))?.t().map_err(Opened::failed)?;
        // other threads will multiply by it
        on.finish()?;
        Ok(Products { on, weight })
    }

    /// Rows that are multiplied at once.
    pub fn rows(&self) -> usize {
        rows(self.weight.dims()[1])
    }

    /// `u w` of `u: [n_rows, d_in]`, or what `choice` keeps of it, where the device chooses.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    pub fn of(&self, u: &[f32], choice: &Choice) -> Result<Made> {
        let d_in = self.weight.dims()[0];
        let alone = self.on.alone();
        let u = self.on.tensor(u.to_vec(), (u.len() / d_in, d_in))?;
        let z = u.matmul(&self.weight).and_then(|z| z.to_dtype(DType::F32)).map_err(Opened::failed)?;
        #[cfg(feature = "cuda")]
        if z.device().is_cuda() {
            return super::choose::chosen(&z, choice).map(Made::Chosen).map_err(Opened::failed);
        }
        // on the CPU the caller chooses
        let _ = choice;
        self.on.finish()?;
        drop(alone);
        z.flatten_all().and_then(|z| z.to_vec1()).map(Made::Products).map_err(Opened::failed)
    }

    /// What the encoder of an SAE takes, beside the one that is kept in f32 here.
    pub fn weight_bytes(compute: Compute, d_in: usize, d_sae: usize) -> Takes {
        let values = d_in as u64 * d_sae as u64;
        let bytes = compute.dtype.bytes() * values;
        // it comes in f32
        match compute.device {
            DeviceName::Cpu => Takes { here: bytes + 4 * values, device: 0 },
            DeviceName::Cuda(_) => Takes { here: 4 * values, device: bytes + 4 * values },
        }
    }

    /// What multiplying batches of `n_rows` rows takes.
    pub fn running_bytes(compute: Compute, d_in: usize, d_sae: usize, n_rows: u64) -> Takes {
        let rows = n_rows.min(rows(d_sae) as u64);
        let (input, products) = (rows * d_in as u64, rows * d_sae as u64);
        let there = (4 + compute.dtype.bytes()) * (input + products);
        // what comes back is there and here for a moment; of a device's own choice at most all of it
        match compute.device {
            DeviceName::Cpu => Takes { here: there + 4 * (input + products), device: 0 },
            DeviceName::Cuda(_) => Takes { here: 4 * (2 * input + products), device: there },
        }
    }
}

fn rows(d_sae: usize) -> usize {
    (MOST / d_sae).max(1)
}
