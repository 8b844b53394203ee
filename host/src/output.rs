//! Results on standard output: tables for people, one JSON object for machines.

use comfy_table::{Table, presets};
use serde_json::{Value, json};
use std::io::Write as _;

/// A table with a header, columns as wide as their content.
pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

/// Writes a result to standard output. A reader that went away (`| head`) is no error.
pub fn line(text: impl std::fmt::Display) {
    let text = text.to_string();
    let trimmed: Vec<&str> = text.lines().map(str::trim_end).collect();
    let _ = writeln!(std::io::stdout().lock(), "{}", trimmed.join("\n"));
}

/// Writes one JSON object.
pub fn json(value: &Value) {
    line(serde_json::to_string_pretty(value).unwrap_or_default());
}

/// A number as JSON; those that JSON doesn't have are `"nan"`, `"inf"` and `"-inf"`.
pub fn number(x: f64) -> Value {
    if x.is_finite() {
        json!(x)
    } else if x.is_nan() {
        json!("nan")
    } else {
        json!(if x > 0.0 { "inf" } else { "-inf" })
    }
}
