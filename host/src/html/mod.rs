//! Pages: one self-contained HTML file each, in light and dark, at any width.

pub mod plot;

use crate::terminal::clean;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");

/// What a page may load: nothing.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// A page. No request leaves it: the policy forbids them. What would act instead of being seen, in
/// whatever text of it, is shown by its number.
pub fn page(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (body) } }
        }
    };
    clean::text(&page.into_string()).into_owned() + "\n"
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
