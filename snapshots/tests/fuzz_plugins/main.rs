//! The host against random programs of operations, descriptions and components. Each target runs for a
//! fixed number of cases in the suite. By hand, for hours:
//!
//! ```sh
//! RETORT_FUZZ_SECONDS=3600 RETORT_FUZZ_SEED=7 cargo test --workspace --test fuzz_plugins -- --nocapture
//! ```
//!
//! on a GPU with `RETORT_TEST_DEVICE=gpu:0`. A finding names its seed and number; `RETORT_FUZZ_SEED=7
//! RETORT_FUZZ_CASE=1234` repeats that one alone and shows it.

#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests; equality is bit for bit")]

mod child;
mod loading;
mod operations;
mod program;

use child::fuzz;

#[test]
fn programs_of_operations_end_in_a_value_or_an_error() {
    fuzz("programs_of_operations_end_in_a_value_or_an_error", 20_000, operations::Target::new);
}

#[test]
fn descriptions_and_components_load_or_are_refused() {
    fuzz("descriptions_and_components_load_or_are_refused", 1500, loading::Target::new);
}
