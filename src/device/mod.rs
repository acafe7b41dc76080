//! With what are products made, where, and in which numbers? The wishes of a dataflow file ([`Compute`]), the device once it is open
//! ([`Opened`]), the product of rows and an encoder on it ([`Products`]), rows that stay on it ([`DeviceRows`]) and their sums ([`Own`], [`Crossed`]).

mod choose;
mod compute;
mod moments;
mod opened;
mod products;
mod rows;
mod takes;

pub use choose::{Choice, Chosen};
pub use compute::{BackendName, Compute, DeviceName, Devices, Dtype, HAS_CUDA};
pub use moments::{Crossed, Norms, Own, Paired, moment_bytes};
pub use opened::Opened;
pub use products::{Made, Products};
pub use rows::DeviceRows;
pub use takes::Takes;
