//! Components made by hand, for what no SDK would build.

use std::fmt::Write as _;

/// A component that says this about itself, in JSON or not, and whose losses are always no tensor. Its
/// core module also holds `more`, in WebAssembly's text.
///
/// # Panics
/// If `more` isn't WebAssembly.
pub fn component(description: &str, more: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
          (core module $m
            (@custom "retort-interface" "\01\00\00\00")
            (memory (export "memory") {pages})
            (data (i32.const 0) "{head}")
            (data (i32.const 64) "{text}")
            (func (export "describe") (result i32) (i32.const 0))
            (func (export "create") (param i32 i32 i32 i32) (result i32) (i32.const 16))
            (func (export "loss") (param i32) (result i64) (i64.const 0))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 32))
            {more})
          (core instance $i (instantiate $m))
          (func (export "describe") (result string)
            (canon lift (core func $i "describe") (memory $i "memory")))
          (func (export "create") (param "name" string) (param "hyper" string)
            (result (result u32 (error string)))
            (canon lift (core func $i "create") (memory $i "memory") (realloc (func $i "realloc"))))
          (func (export "loss") (param "instance" u32) (result u64)
            (canon lift (core func $i "loss"))))"#,
        pages = 1 + (64 + description.len()) / 65536,
        head = escaped(&[64u32.to_le_bytes(), (description.len() as u32).to_le_bytes()].concat()),
        text = escaped(description.as_bytes()),
    );
    wat::parse_str(&text).unwrap_or_else(|e| panic!("{e}"))
}

/// The description of a pack with one loss and these hyperparameters.
pub fn description(loss: &str, hyper: &serde_json::Value) -> String {
    let loss = serde_json::json!({"name": loss, "doc": "Nothing.", "hyper": hyper});
    serde_json::json!({"interface": 1, "sdk": "by hand", "losses": [loss]}).to_string()
}

/// Bytes as WebAssembly's text has them.
fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "\\{byte:02x}");
        text
    })
}
