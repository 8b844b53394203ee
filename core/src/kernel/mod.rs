//! Kernels of our own for GPUs, where Burn's would be one launch for each parameter of a network, or a dozen for a
//! layer. One file each. On other devices, and for numbers that aren't 32 bits, they give nothing, and the caller takes Burn's
//! operations.

mod batch_norm;
mod mix;
mod parts;
mod update;

pub(crate) use batch_norm::{Running, batch_norm};
pub(crate) use mix::mix;
pub(crate) use parts::takes;
pub use update::Arithmetic;
pub(crate) use update::{Moving, Scalars, update};
