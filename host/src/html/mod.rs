//! Pages: one self-contained HTML file each, in light and dark, at any width.

pub mod plot;

const STYLE: &str = include_str!("style.css");

/// Text for HTML, in elements and in quoted attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in crate::terminal::clean::text(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A page's beginning, up to its first heading. No request leaves it: the policy forbids them.
pub fn open(title: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; \
         style-src 'unsafe-inline'\"><title>{}</title><style>{STYLE}</style></head><body><main>",
        escape(title)
    )
}

/// A page's end.
pub const CLOSE: &str = "</main></body></html>\n";
