//! Kernels of our own, one file each: for GPUs, where Burn's would be one launch for each parameter of a network, or a
//! dozen for a layer; for the CPU, where Burn's take twice as long. On other devices, and for numbers that aren't 32
//! bits, they give nothing, and the caller takes Burn's operations.

mod batch_norm;
mod conv;
mod flex;
mod mix;
mod parts;
mod pool;
mod record;
#[cfg(test)]
mod testing;
mod update;

pub(crate) use batch_norm::{Norm, batch_norm, normalise, unbiased};
pub(crate) use conv::conv2d;
pub(crate) use mix::mix;
pub(crate) use parts::takes;
pub(crate) use pool::max_pool2d;
pub use update::Arithmetic;
pub(crate) use update::{Moving, Scalars, update};
