//! Pages: one self-contained HTML file each, in light and dark, at any width.

pub mod plot;

use crate::terminal::clean;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

const STYLE: &str = include_str!("style.css");

/// A page: its title, and what it has beside the common style.
#[derive(Clone, Copy, Debug, Default)]
pub struct Page<'a> {
    /// Its title, of whatever text.
    pub title: &'a str,
    /// A style of its own.
    pub style: &'static str,
    /// Whether it holds pictures, as data.
    pub pictures: bool,
    /// The one script that runs in it.
    pub script: Option<&'static str>,
}

impl Page<'_> {
    /// The page with this body. No request leaves it: its policy forbids them, and knows the script by its hash. What
    /// would act instead of being seen, in whatever text of it, is shown by its number.
    pub fn with(self, body: &Markup) -> String {
        let pictures = if self.pictures { "; img-src data:" } else { "" };
        let script = self.script.map(|script| {
            format!("; script-src 'sha256-{}'", STANDARD.encode(Sha256::digest(script)))
        });
        let script = script.unwrap_or_default();
        let policy = format!("default-src 'none'{pictures}; style-src 'unsafe-inline'{script}");
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta http-equiv="Content-Security-Policy" content=(policy);
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) (PreEscaped(self.style)) }
                }
                body {
                    main { (body) }
                    @if let Some(script) = self.script { script { (PreEscaped(script)) } }
                }
            }
        };
        clean::text(&page.into_string()).into_owned() + "\n"
    }
}

/// A page of text and drawings in the common style.
pub fn page(title: &str, body: &Markup) -> String {
    Page { title, pictures: true, ..Page::default() }.with(body)
}

#[cfg(test)]
mod tests {
    use super::page;
    use maud::html;

    #[test]
    fn foreign_text_neither_marks_up_nor_acts() {
        let name = "<script>a & \"b\"\u{202e}\x1b[2J</script>\n";
        let page = page(name, &html! { p title=(name) { (name) } });
        assert!(!page.contains("<script") && !page.contains(['\u{202e}', '\x1b']), "{page}");
        let shown = r"&lt;script&gt;a &amp; &quot;b&quot;\u{202e}\u{1b}[2J&lt;/script&gt;";
        assert_eq!(page.matches(shown).count(), 3, "{page}");
    }
}
