//! What is `x w^T + b`? One product with the bias already in place.

use super::{device_error, slice};
use crate::error::Result;
use crate::linalg::gemm::gemm_f32;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape, Tensor};

/// A linear layer.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    order: Order,
}

/// How a weight lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `[n_out, n_in]`, as `torch.nn.Linear` stores it.
    OutIn,
    /// `[n_in, n_out]`, as GPT-2's `Conv1D` stores it.
    InOut,
}

impl Linear {
    /// From a weight in `order` and a bias `[n_out]`, both f32.
    pub fn new(weight: Tensor, bias: Option<Tensor>, order: Order) -> Self {
        Linear { weight, bias, order }
    }

    /// `x: [n_rows, n_in]` contiguous to `[n_rows, n_out]`.
    ///
    /// # Errors
    /// `Machine` when the tensor library fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let out = match (x.device().is_cpu(), &self.bias) {
            (true, Some(bias)) => x.apply_op3_no_bwd(&self.weight, bias, &Product { order: self.order }),
            (true, None) => x.apply_op2_no_bwd(&self.weight, &Product { order: self.order }),
            (false, _) => self.plain(x),
        };
        out.map_err(device_error)
    }

    /// The same in candle's own operations.
    pub(super) fn plain(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let product = match self.order {
            Order::OutIn => x.matmul(&self.weight.t()?)?,
            Order::InOut => x.matmul(&self.weight)?,
        };
        match &self.bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
    }
}

struct Product {
    order: Order,
}

impl Product {
    fn run(
        &self,
        x: &[f32],
        lx: &Layout,
        w: &[f32],
        lw: &Layout,
        bias: Option<&[f32]>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let ((m, k), (rows, cols)) = (lx.shape().dims2()?, lw.shape().dims2()?);
        let (n, n_in, strides) = match self.order {
            Order::OutIn => (rows, cols, (1, cols)),
            Order::InOut => (cols, rows, (cols, 1)),
        };
        if n_in != k || bias.is_some_and(|b| b.len() != n) {
            candle_core::bail!("a linear layer of [{n}, {n_in}] does not fit rows of {k}");
        }
        let mut out = Vec::with_capacity(m * n);
        match bias {
            Some(bias) => (0..m).for_each(|_| out.extend_from_slice(bias)),
            None => out.resize(m * n, 0.0),
        }
        let beta = if bias.is_some() { 1.0 } else { 0.0 };
        gemm_f32(m, n, k, x, (k, 1), w, strides, &mut out, (n, 1), beta, 1.0);
        Ok((CpuStorage::F32(out), (m, n).into()))
    }
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.run(slice(x, lx)?, lx, slice(w, lw)?, lw, None)
    }
}

impl CustomOp3 for Product {
    fn name(&self) -> &'static str {
        "linear with bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.run(slice(x, lx)?, lx, slice(w, lw)?, lw, Some(slice(b, lb)?))
    }
}
