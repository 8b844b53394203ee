//! Benchmarks, run by hand with `cargo bench --profile dev`.
