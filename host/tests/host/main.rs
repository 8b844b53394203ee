//! The program as a user types it, in one program of tests: linking takes longer than most of them.
//! `cargo test --workspace --test host share` runs those of one file.

#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests; equality is bit for bit")]

mod compare;
mod data;
mod demo;
#[cfg(unix)]
mod docs;
mod embed;
mod fetch;
#[cfg(unix)]
mod gallery;
#[cfg(unix)]
mod getting;
mod hostile;
mod metrics;
#[cfg(unix)]
mod package;
mod program;
mod reference;
#[allow(clippy::too_many_lines, reason = "one story")]
#[cfg(unix)]
mod registry;
mod report;
#[cfg(unix)]
mod resume;
mod runs;
mod server;
mod settings;
#[cfg(unix)]
mod share;
mod train;
