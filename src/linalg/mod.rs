//! Dense matrices and what is computed from them: products, symmetric eigendecomposition, thin SVD, whitening; and the
//! run's named random streams.
//!
//! The only home of `faer` and `gemm`. Products over weights that are kept have kernels of their own: `panels.rs` for f32, `bf16.rs`.
//! Decompositions are in f64 and run on one thread each: the same input gives the
//! same bits however many threads the machine lends (on processors with the same vector instructions).

pub mod bf16;
mod bidiagonal;
pub mod bytes;
pub mod columns;
mod decompose;
pub mod gemm;
pub mod kept;
mod matrix;
mod pages;
pub mod panels;
mod product;
pub mod signs;
mod solve;
mod stream;
mod vectors;
mod whiten;

pub use decompose::{SymmetricEigen, ThinSvd, require_finite, singular_values, symmetric_eigen, thin_svd};
pub use matrix::Matrix;
pub use pages::Zeroed;
pub use product::{product, product_transposed, transposed_product, transposed_product_permuted};
pub use solve::Cholesky;
pub use stream::Stream;
pub use vectors::{dispatch, vectorised};
pub use whiten::{inverse_square_root, whitening};
