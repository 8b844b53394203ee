//! A README of somebody else's as HTML: of Markdown what makes text, with every character escaped. Markup in it is shown
//! as text, pictures by their words, and only links to the web lead anywhere.

use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use std::fmt::Write as _;

/// Most events that are shown.
const MOST: usize = 20_000;

/// Renders it.
pub fn render(text: &str) -> Markup {
    let mut out = String::new();
    let mut linked = Vec::new();
    for event in Parser::new_ext(text, Options::ENABLE_TABLES).take(MOST) {
        match event {
            Event::Start(Tag::Link { dest_url, .. }) => {
                let leads = dest_url.starts_with("https://") || dest_url.starts_with("http://");
                linked.push(leads);
                if leads {
                    let url = escaped(&dest_url);
                    let _ = write!(out, "<a rel=\"nofollow noopener\" href=\"{url}\">");
                }
            }
            Event::End(TagEnd::Link) if linked.pop() == Some(true) => out += "</a>",
            Event::Start(Tag::CodeBlock(kind)) => {
                let _: CodeBlockKind = kind;
                out += "<pre><code>";
            }
            Event::End(TagEnd::CodeBlock) => out += "</code></pre>",
            Event::Start(tag) => open(&mut out, &tag),
            Event::End(tag) => close(&mut out, tag),
            Event::Code(code) => {
                let _ = write!(out, "<code>{}</code>", escaped(&code));
            }
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => {
                out += &escaped(&text);
            }
            Event::SoftBreak => out.push('\n'),
            Event::HardBreak => out += "<br>",
            Event::Rule => out += "<hr>",
            _ => {}
        }
    }
    PreEscaped(out)
}

fn escaped(text: &str) -> String {
    html! { (crate::terminal::clean::text(text)) }.into_string().replace('"', "&quot;")
}

/// The element of a tag. A page has a heading of its own, so that a README's begin two lower.
fn element(tag: TagEnd) -> Option<&'static str> {
    Some(match tag {
        TagEnd::Paragraph => "p",
        TagEnd::Heading(HeadingLevel::H1) => "h3",
        TagEnd::Heading(HeadingLevel::H2) => "h4",
        TagEnd::Heading(_) => "h5",
        TagEnd::BlockQuote(_) => "blockquote",
        TagEnd::List(true) => "ol",
        TagEnd::List(false) => "ul",
        TagEnd::Item => "li",
        TagEnd::Emphasis => "em",
        TagEnd::Strong => "strong",
        TagEnd::Table => "table",
        TagEnd::TableHead | TagEnd::TableRow => "tr",
        TagEnd::TableCell => "td",
        _ => return None,
    })
}

fn open(out: &mut String, tag: &Tag) {
    if let Some(name) = element(tag.to_end()) {
        let _ = write!(out, "<{name}>");
    }
}

fn close(out: &mut String, tag: TagEnd) {
    if let Some(name) = element(tag) {
        let _ = write!(out, "</{name}>");
    }
}

#[cfg(test)]
mod tests {
    use super::render;

    #[test]
    fn markdown_is_text_and_never_markup() {
        let shown = render("# A *pack*\n\n- `one`\n- [two](https://x.example/?a=1&b=\"2\")\n")
            .into_string();
        assert!(shown.contains("<h3>A <em>pack</em></h3>"), "{shown}");
        assert!(shown.contains("<li><code>one</code></li>"), "{shown}");
        assert!(shown.contains("href=\"https://x.example/?a=1&amp;b="), "{shown}");
        for hostile in [
            "<script>alert(1)</script>",
            "a <img src=x onerror=alert(1)> b",
            "[x](javascript:alert(1))",
            "[x](data:text/html,x)",
            "![x](https://tracker.example/x.png)",
            "```\n</code></pre><script>\n```",
            "\u{1b}[2J\u{202e}",
            "[x](https://x.example/\"onmouseover=alert(1))",
        ] {
            let shown = render(hostile).into_string();
            for bad in
                ["<script", "<img", "javascript:", "data:", "\u{1b}", "\u{202e}", "\"onmouse"]
            {
                assert!(!shown.contains(bad), "{hostile}: {shown}");
            }
        }
    }
}
