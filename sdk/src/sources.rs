//! This crate's own text: a program that carries it gives authors an SDK without a clone or a registry of crates.

macro_rules! texts {
    ($($name:literal: $path:literal),* $(,)?) => { &[$(($name, include_str!($path))),*] };
}

/// The crate `retort-sdk`: each file's place in its folder, and its text.
pub const CRATE: &[(&str, &str)] = texts! {
    "src/abi.rs": "abi.rs",
    "src/bindings.rs": "bindings.rs",
    "src/compose.rs": "compose.rs",
    "src/distance.rs": "distance.rs",
    "src/ffi.rs": "ffi.rs",
    "src/hyper.rs": "hyper.rs",
    "src/lib.rs": "lib.rs",
    "src/op.rs": "op.rs",
    "src/plugin.rs": "plugin.rs",
    "src/schema.rs": "schema.rs",
    "src/sources.rs": "sources.rs",
    "src/step.rs": "step.rs",
    "src/tensor.rs": "tensor.rs",
    "wit/plugin.wit": "../wit/plugin.wit",
    "Cargo.toml": "../Cargo.toml",
};

/// The SDK for Python, likewise: the folder `retort_sdk`.
pub const PYTHON: &[(&str, &str)] = texts! {
    "retort_sdk/__init__.py": "../python/retort_sdk/__init__.py",
    "retort_sdk/component.py": "../python/retort_sdk/component.py",
    "retort_sdk/distance.py": "../python/retort_sdk/distance.py",
    "retort_sdk/einsum.py": "../python/retort_sdk/einsum.py",
    "retort_sdk/host.py": "../python/retort_sdk/host.py",
    "retort_sdk/hyper.py": "../python/retort_sdk/hyper.py",
    "retort_sdk/op.py": "../python/retort_sdk/op.py",
    "retort_sdk/py.typed": "../python/retort_sdk/py.typed",
    "retort_sdk/pyproject.toml": "../python/retort_sdk/pyproject.toml",
    "retort_sdk/step.py": "../python/retort_sdk/step.py",
    "retort_sdk/tensor.py": "../python/retort_sdk/tensor.py",
};
