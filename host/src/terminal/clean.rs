//! Foreign text, made fit to be seen.
//!
//! Names, paths and messages come from packs, checkpoints and run folders of others. Some characters
//! command a terminal, turn the order of text around, or can't be seen at all; these are shown by
//! their numbers instead, such as `\u{202e}`.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character does something other than being seen: controls (C0, DEL, C1), marks of
/// direction, what has no width, separators of lines and paragraphs, tags.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Text of several lines, whose breaks and tabs are retort's own.
pub fn text(text: &str) -> Cow<'_, str> {
    shown(text, |c| acts(c) && !matches!(c, '\n' | '\t'))
}

/// Text within a line.
pub fn line(text: &str) -> Cow<'_, str> {
    shown(text, acts)
}

/// JSON with the same content, in which every such character is an escape. JSON itself escapes the
/// first 32 alone.
pub fn json(text: &str) -> Cow<'_, str> {
    replaced(
        text,
        |c| acts(c) && c != '\n',
        |out, c| {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        },
    )
}

fn shown(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    replaced(text, hidden, |out, c| out.extend(c.escape_default()))
}

fn replaced(
    text: &str,
    hidden: impl Fn(char) -> bool,
    put: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hidden(c) { put(&mut out, c) } else { out.push(c) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::{json, line, text};

    #[test]
    fn what_acts_is_shown_by_its_number() {
        assert_eq!(line("rkd – Größe 日本"), "rkd – Größe 日本");
        assert_eq!(line("a\x1b[2J\u{202e}b\r\n\t"), "a\\u{1b}[2J\\u{202e}b\\r\\n\\t");
        assert_eq!(text("a\nb\x07\u{9b}2K\u{7f}"), "a\nb\\u{7}\\u{9b}2K\\u{7f}");
        for c in "\u{200b}\u{200e}\u{2028}\u{2029}\u{2066}\u{2069}\u{feff}\u{ad}\u{e0041}".chars() {
            assert_eq!(line(&c.to_string()), format!("\\u{{{:x}}}", c as u32));
        }
    }

    #[test]
    fn json_keeps_its_content() {
        let value = serde_json::json!({"a\u{202e}\u{9b}": "\x1b\u{feff}\u{e0041}\n"});
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let written = json(&pretty);
        assert!(written.is_ascii(), "{written}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), value);
    }
}
