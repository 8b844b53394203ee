//! Losses, networks and interface against independent numbers, in one program: linking takes longer than most tests.
//! `cargo test --workspace --test snapshots parity` runs those of one file.

#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests; equality is bit for bit")]

mod bindings;
mod book;
mod check;
mod checkpoints;
mod cli_checkpoint;
mod cli_foreign;
mod cli_loss;
mod fixtures;
mod foreign_checkpoints;
mod hostile;
mod kept;
mod load_paths;
mod networks;
mod pages;
mod parity;
mod pinned;
mod profiles;
mod program;
mod recent;
#[allow(
    clippy::ptr_arg,
    clippy::too_many_lines,
    clippy::used_underscore_binding,
    reason = "a table"
)]
mod sdk_operations;
mod train_losses;
mod training;
