//! Hand-made components: `hostile/wat/shell.wat` with an attack's own forms in it.

use crate::workspace;
use std::path::Path;

/// The component of an attack's file `hostile/wat/NAME.wat`.
///
/// # Panics
/// If there is no such file, or it isn't what the assembler reads.
pub fn assemble(name: &str) -> Vec<u8> {
    component(&read(name)).unwrap_or_else(|e| panic!("{name}.wat: {e}"))
}

/// The component of these forms in the shell.
pub fn component(text: &str) -> Result<Vec<u8>, wat::Error> {
    let mut bytes = wat::parse_str(filled(&read("shell"), text))?;
    let depth = forms(text).iter().find_map(|form| number(form.strip_prefix("(nest ")?));
    bytes.extend(section(&nested(depth.unwrap_or(0))));
    Ok(bytes)
}

/// A component in a component, and so on, this deep. (As text, the assembler refuses it.)
fn nested(depth: usize) -> Vec<u8> {
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";
    (0..depth).fold(Vec::new(), |inner, _| [EMPTY, &section(&inner)].concat())
}

/// The section of a component that holds a component; nothing if that is empty.
fn section(component: &[u8]) -> Vec<u8> {
    if component.is_empty() {
        return Vec::new();
    }
    let (mut out, mut size) = (vec![4], component.len());
    while size > 0x7f {
        out.push(size as u8 | 0x80);
        size >>= 7;
    }
    out.push(size as u8);
    out.extend_from_slice(component);
    out
}

fn number(text: &str) -> Option<usize> {
    text.trim_end_matches(')').parse().ok()
}

/// A form that describes the pack by these bytes.
pub fn description(bytes: &[u8]) -> String {
    let escaped = bytes.iter().fold(String::new(), |text, byte| text + &format!("\\{byte:02x}"));
    format!("(data $description (i32.const 65536) \"{escaped}\")")
}

fn read(name: &str) -> String {
    let path = workspace().join("snapshots/hostile/wat").join(name).with_extension("wat");
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The names of all attacks' files.
///
/// # Panics
/// If the folder can't be read.
pub fn names() -> Vec<String> {
    let folder = workspace().join("snapshots/hostile/wat");
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let stem = |path: &Path| Some(path.file_stem()?.to_str()?.to_owned());
    let mut names: Vec<String> =
        paths.filter_map(|path| stem(&path)).filter(|name| name != "shell").collect();
    names.sort();
    names
}

/// The shell with the forms of `attack` in their places.
fn filled(shell: &str, attack: &str) -> String {
    let mut text = shell.to_owned();
    for form in forms(attack).into_iter().filter(|form| !form.starts_with("(nest")) {
        let form = expanded(form);
        if form.starts_with("(module") {
            return form;
        }
        let component =
            ["(import", "(core", "(component"].iter().any(|head| form.starts_with(head));
        let place = if let Some(old) = find(&text, head(&form)) {
            old
        } else {
            let before =
                if component { "  ;; The memory" } else { "    (export \"describe\" (func" };
            let at = text.find(before).unwrap_or(text.len());
            at..at
        };
        text.replace_range(place, &format!("{form}\n"));
    }
    text
}

/// `(repeat N form)` written out, other forms as they are.
fn expanded(form: &str) -> String {
    let mut words = form.splitn(3, ' ');
    match (words.next(), words.next().and_then(number), words.next()) {
        (Some("(repeat"), Some(times), Some(rest)) => rest[..rest.len() - 1].repeat(times),
        _ => form.to_owned(),
    }
}

/// What tells a form from others: its first two words, if the second is a name.
fn head(form: &str) -> &str {
    let second = form.find(' ').map_or(form.len(), |i| i + 1);
    let end = form[second..].find([' ', ')', '\n']).map_or(form.len(), |i| second + i);
    if form[second..].starts_with('$') { &form[..end] } else { form }
}

/// Where a form that begins so stands in a text.
fn find(text: &str, head: &str) -> Option<std::ops::Range<usize>> {
    let begins = |at: &usize| text[at + head.len()..].starts_with([' ', ')', '\n']);
    let at = text.match_indices(head).map(|(at, _)| at).find(begins)?;
    Some(at..at + length(&text[at..]))
}

/// The top-level forms of a text.
fn forms(text: &str) -> Vec<&str> {
    let (mut rest, mut out) = (text, Vec::new());
    loop {
        rest = rest.trim_start();
        match rest.as_bytes() {
            [] => return out,
            [b';', b';', ..] => rest = rest.find('\n').map_or("", |end| &rest[end..]),
            _ => {
                let (form, after) = rest.split_at(length(rest));
                out.push(form);
                rest = after;
            }
        }
    }
}

/// Bytes of the form that a text starts with: to the parenthesis that closes it.
fn length(text: &str) -> usize {
    let (mut depth, mut bytes) = (0usize, text.bytes().enumerate());
    while let Some((i, byte)) = bytes.next() {
        match byte {
            b'(' => depth += 1,
            b')' if depth <= 1 => return i + 1,
            b')' => depth -= 1,
            b'"' => {
                while let Some((_, byte)) = bytes.next() {
                    match byte {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b';' if text[i..].starts_with(";;") => {
                bytes.by_ref().find(|(_, byte)| *byte == b'\n');
            }
            _ => {}
        }
    }
    panic!("a form that isn't closed: {}", text.lines().next().unwrap_or_default())
}
