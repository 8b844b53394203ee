//! What runs on a GPU, or on a software one: `cargo test --workspace --test gpu -- --ignored`.

#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests; equality is bit for bit")]

mod launches;
mod wgpu;
