//! Results on standard output: tables for people, one JSON object for machines.

use comfy_table::{Table, presets};
use serde_json::{Value, json};
use std::io::{IsTerminal as _, Write as _};

/// A table with a header, columns as wide as their content.
pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

/// Whether standard output is a terminal that shows colours, and the user wants them.
pub fn colours() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stdout().is_terminal() && !unwanted && !dumb
}

/// A table's text with what an asterisk marks in bold, where colours are shown.
pub fn bold_marked(text: &str) -> String {
    if !colours() {
        return text.to_owned();
    }
    let bold = |part: &str| {
        let end = ["  ", " [", "\n"].iter().filter_map(|end| part.find(end)).min();
        let (marked, rest) = part.split_at(end.unwrap_or(part.len()));
        format!("\x1b[1m*{marked}\x1b[0m{rest}")
    };
    let mut parts = text.split('*');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + &bold(part))
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
