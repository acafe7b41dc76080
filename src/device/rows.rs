//! Which rows of activations lie on a device, in which order?

use super::opened::Opened;
use crate::error::Result;
use candle_core::Tensor;

/// Rows of activations where a device made them, `[n_rows, width]` f32.
#[derive(Clone, Debug)]
pub struct DeviceRows {
    on: Opened,
    x: Tensor,
}

impl DeviceRows {
    /// `x: [n_rows, width]` f32, on the device `on`.
    pub fn of(on: &Opened, x: Tensor) -> DeviceRows {
        DeviceRows { on: on.clone(), x }
    }

    /// How many there are.
    pub fn n_rows(&self) -> usize {
        self.x.dims()[0]
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.x.dims()[1]
    }

    /// `n` of them from row `first` on, in the same memory.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    pub fn part(&self, first: usize, n: usize) -> Result<DeviceRows> {
        Ok(DeviceRows::of(&self.on, self.x.narrow(0, first, n).map_err(Opened::failed)?))
    }

    /// All of some, one behind the other; `None` where there are none.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    pub fn joined(parts: &[DeviceRows]) -> Result<Option<DeviceRows>> {
        let Some(DeviceRows { on, .. }) = parts.first() else { return Ok(None) };
        let _alone = on.alone();
        let x = Tensor::cat(&parts.iter().map(|part| &part.x).collect::<Vec<_>>(), 0).map_err(Opened::failed)?;
        on.finish()?;
        Ok(Some(DeviceRows::of(on, x)))
    }

    /// Whether both lie on one device.
    pub fn is_beside(&self, other: &DeviceRows) -> bool {
        self.on.device.same_device(&other.on.device)
    }

    /// Copies them to this machine's memory.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    ///
    /// # Panics
    /// When `out` is of another length.
    pub fn read_into(&self, out: &mut [f32]) -> Result<()> {
        let values: Vec<f32> = self.x.flatten_all().and_then(|x| x.to_vec1()).map_err(Opened::failed)?;
        out.copy_from_slice(&values);
        Ok(())
    }

    pub(super) fn tensor(&self) -> (&Opened, &Tensor) {
        (&self.on, &self.x)
    }
}
