//! What can be told of the library from outside, in one program: linking takes longer than most tests.
//! (`memory.rs` measures its own process.)

#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests; equality is bit for bit")]

mod common;
mod metrics;
mod order;
mod session;
