//! What retort says: results on standard output, tables for people and one JSON object for machines;
//! remarks on standard error. All of it goes through here, and is [cleaned](crate::terminal::clean) first.

use crate::failure::{Failure, Result};
use crate::terminal::clean;
use comfy_table::presets;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind, IsTerminal as _, Stderr, Write};
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// A table whose cells are lines, as wide as what is seen of them.
#[derive(Debug)]
pub struct Table(comfy_table::Table);

/// A table with a header.
pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table(comfy_table::Table::new());
    table.load_style(presets::NOTHING);
    table.set_header(header);
    table
}

/// Cells longer than this say nothing to people.
const CELL: usize = 2000;

fn cells(cells: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<String> {
    let cell = |text: &str| match text.char_indices().nth(CELL) {
        Some((end, _)) => format!("{}…", clean::line(&text[..end])),
        None => clean::line(text).into_owned(),
    };
    cells.into_iter().map(|text| cell(text.as_ref())).collect()
}

impl Table {
    /// Adds a row.
    pub fn add_row(&mut self, row: impl IntoIterator<Item = impl AsRef<str>>) {
        self.0.add_row(cells(row));
    }

    /// Puts another header over it.
    pub fn set_header(&mut self, header: impl IntoIterator<Item = impl AsRef<str>>) {
        self.0.set_header(cells(header));
    }
}

impl Deref for Table {
    type Target = comfy_table::Table;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Table {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether standard output is a terminal that shows colours, and the user wants them.
pub fn colours() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !unwanted && !dumb
}

/// Writes a result to standard output. What can't be written is told by [`finish`].
pub fn line(text: impl std::fmt::Display) {
    let text = text.to_string();
    write(&trimmed(&clean::text(&text)));
}

/// Writes a table's text, with what an asterisk marks in bold where colours are shown.
pub fn marked(text: &str) {
    let text = trimmed(&clean::text(text));
    write(&if colours() { bold(&text) } else { text });
}

/// Writes a table whose lines each have a verdict, the verdicts in colours where colours are shown.
pub fn verdicts(table: impl std::fmt::Display) {
    let text = trimmed(&clean::text(&table.to_string()));
    write(&if colours() { painted(&text) } else { text });
}

/// The first verdict of each line in its colour: green, red, yellow, grey.
fn painted(text: &str) -> String {
    const VERDICTS: [(&str, u8); 4] =
        [("holds", 32), ("FAILS", 31), ("exempt", 33), ("unchecked", 90)];
    let one = |line: &str| {
        let place = |(word, colour): (&str, u8)| {
            let whole =
                |at: &usize| line[at + word.len()..].chars().next().is_none_or(|c| c == ' ');
            let places = line.match_indices(word).map(|(at, _)| at);
            let at = places.filter(|&at| line[..at].ends_with(' ')).find(whole)?;
            Some((at, at + word.len(), colour))
        };
        match VERDICTS.into_iter().filter_map(place).min() {
            None => line.to_owned(),
            Some((start, end, colour)) => {
                let (before, word, after) = (&line[..start], &line[start..end], &line[end..]);
                format!("{before}\x1b[{colour}m{word}\x1b[0m{after}")
            }
        }
    };
    text.lines().map(one).collect::<Vec<_>>().join("\n")
}

/// Writes one JSON object.
pub fn json(value: &Value) {
    write(&json_text(value));
}

/// A value as JSON for a file or a terminal, without a line break at its end.
pub fn json_text(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    clean::json(&text).into_owned()
}

fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn bold(text: &str) -> String {
    let bold = |part: &str| {
        let end = ["  ", " [", "\n"].iter().filter_map(|end| part.find(end)).min();
        let (marked, rest) = part.split_at(end.unwrap_or(part.len()));
        format!("\x1b[1m*{marked}\x1b[0m{rest}")
    };
    let mut parts = text.split('*');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + &bold(part))
}

/// The first error of standard output.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

/// Notes an error of standard output, for [`finish`].
pub fn note(written: io::Result<()>) {
    if let Err(e) = written
        && let Ok(mut lost) = LOST.lock()
    {
        lost.get_or_insert(e);
    }
}

fn write(text: &str) {
    note(writeln!(io::stdout().lock(), "{text}"));
}

/// Says whether all results were written. A reader that went away (`| head`) has what it wanted.
pub fn finish() -> Result<()> {
    note(io::stdout().lock().flush());
    let lost = LOST.lock().ok().and_then(|mut lost| lost.take());
    match lost.filter(|e| e.kind() != ErrorKind::BrokenPipe) {
        None => Ok(()),
        Some(e) => Err(Failure::new(format!(
            "can't write the results to standard output: {e}; what was printed is incomplete"
        ))),
    }
}

/// Writes a remark to standard error. Nobody's work ends because it can't be read.
pub fn say(text: impl std::fmt::Display) {
    let text = text.to_string();
    let _ = Quiet::stderr().write_all(format!("{}\n", clean::text(&text)).as_bytes());
}

/// The same, unless this process has said it before.
pub fn say_once(text: String) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(text.clone()) {
        say(text);
    }
}

/// Standard error, whose errors are nobody's concern.
#[derive(Debug)]
pub struct Quiet(Stderr);

impl Quiet {
    /// This process's.
    pub fn stderr() -> Self {
        Quiet(io::stderr())
    }
}

impl Write for Quiet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

/// A number for people, with at least four digits that say something.
pub fn short(x: f64) -> String {
    let size = x.abs();
    if size.total_cmp(&0.0).is_eq() || !size.is_finite() || (0.1..1e6).contains(&size) {
        format!("{x:.4}")
    } else if (1e-4..0.1).contains(&size) {
        let places = 3 - size.log10().floor() as i32;
        format!("{x:.0$}", places as usize)
    } else {
        format!("{x:.3e}")
    }
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

#[cfg(test)]
mod tests {
    use super::painted;

    #[test]
    fn a_lines_verdict_is_painted_and_nothing_else() {
        let table = " PROPERTY  VERDICT\n runs      holds     it holds\n order     FAILS     exempt no\n x         unchecked\n holdsome  of holds";
        let painted = painted(table);
        let lines: Vec<&str> = painted.lines().collect();
        assert_eq!(lines[0], " PROPERTY  VERDICT");
        assert_eq!(lines[1], " runs      \x1b[32mholds\x1b[0m     it holds");
        assert_eq!(lines[2], " order     \x1b[31mFAILS\x1b[0m     exempt no");
        assert_eq!(lines[3], " x         \x1b[90munchecked\x1b[0m");
        assert_eq!(lines[4], " holdsome  of \x1b[32mholds\x1b[0m", "whole words only");
    }
}
