//! With what are products made, where, and in which numbers? The wishes of a dataflow file ([`Compute`]), the device once it is open
//! ([`Opened`]), and the product of rows and an encoder on it ([`Products`]).

mod choose;
mod compute;
mod opened;
mod products;
mod takes;

pub use choose::{Choice, Chosen};
pub use compute::{BackendName, Compute, DeviceName, Dtype, HAS_CUDA};
pub use opened::Opened;
pub use products::{Made, Products};
pub use takes::Takes;
