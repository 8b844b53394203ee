//! What can be told of the library from outside, in one program: linking takes longer than most tests.

#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests; equality is bit for bit")]

mod common;
mod golden;
mod grocery;
mod loader;
mod picture;
mod sampler;
mod sets;
mod subset;
mod transform;
