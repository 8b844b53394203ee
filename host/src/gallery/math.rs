//! Equations as losses' docs write them, in plain text with the symbols of Unicode, as MathML, which a browser draws
//! itself.

use maud::{Markup, html};
use std::iter::Peekable;
use std::str::Chars;

/// Deepest groups in one another.
const DEPTH: usize = 16;

/// Whether a paragraph of a doc is an equation: it begins with a short name, and says what that is.
pub fn is_equation(paragraph: &str) -> bool {
    let first = paragraph.split_once(" = ").map(|(name, _)| name);
    first.is_some_and(|name| !name.is_empty() && name.chars().count() <= 8 && !name.contains(' '))
}

/// A paragraph of equations, a line each.
pub fn typeset(paragraph: &str) -> Markup {
    html! {
        div.equation {
            @for line in paragraph.lines().filter(|line| !line.trim().is_empty()) {
                math display="block" { (row(&mut line.chars().peekable(), None, 0)) }
            }
        }
    }
}

type Text<'a> = Peekable<Chars<'a>>;

/// What stands until the end, or until `close`.
fn row(text: &mut Text, close: Option<char>, depth: usize) -> Markup {
    let mut parts = Vec::new();
    while let Some(c) = text.next() {
        if Some(c) == close {
            break;
        }
        if let Some(part) = atom(c, text, depth) {
            parts.push(scripts(part, c, text, depth));
        }
    }
    html! { mrow { @for part in &parts { (part) } } }
}

/// What begins with this character.
fn atom(c: char, text: &mut Text, depth: usize) -> Option<Markup> {
    let is_word = |c: &char| {
        let is_sign = matches!(c, 'Σ' | 'Π') || lowered(*c).is_some() || raised(*c).is_some();
        c.is_alphabetic() && !is_sign
    };
    if c.is_whitespace() {
        let mut spaces = 1;
        while text.next_if(|c| c.is_whitespace()).is_some() {
            spaces += 1;
        }
        // More than one space parts two equations.
        return (spaces > 1).then(|| html! { mspace width="1.5em" {} });
    }
    if c.is_ascii_digit() {
        let number = rest(c, text, |c| c.is_ascii_digit() || *c == '.');
        return Some(html! { mn { (number) } });
    }
    if c == '√' && depth < DEPTH && text.next_if_eq(&'(').is_some() {
        return Some(html! { msqrt { (row(text, Some(')'), depth + 1)) } });
    }
    if is_word(&c) {
        let word = if c.is_ascii() {
            rest(c, text, |c| is_word(c) && c.is_ascii())
        } else {
            c.to_string()
        };
        let functions = ["exp", "log", "cos", "sin", "max", "min", "softmax", "tanh", "arccos"];
        return Some(if word.chars().count() == 1 {
            html! { mi { (word) } }
        } else if functions.contains(&word.as_str()) {
            html! { mi { (word) } mspace width="0.17em" {} }
        } else {
            html! { mtext { "\u{a0}" (word) "\u{a0}" } }
        });
    }
    Some(match c {
        'Σ' => html! { mo { "∑" } },
        'Π' => html! { mo { "∏" } },
        '-' => html! { mo { "−" } },
        '(' | ')' | '[' | ']' | '{' | '}' | '‖' | '|' => html! { mo stretchy="false" { (c) } },
        c => html! { mo { (c) } },
    })
}

/// A character and those after it that belong to it.
fn rest(first: char, text: &mut Text, belongs: impl Fn(&char) -> bool) -> String {
    let mut all = first.to_string();
    while let Some(c) = text.next_if(&belongs) {
        all.push(c);
    }
    all
}

/// A part with what stands below and above it.
fn scripts(part: Markup, first: char, text: &mut Text, depth: usize) -> Markup {
    let (mut below, mut above) = (Vec::new(), Vec::new());
    while let Some(c) = text.peek().copied() {
        let is_mark = (c == '_' || c == '^') && depth < DEPTH;
        if let Some(low) = lowered(c) {
            text.next();
            below.push(letter(low));
        } else if let Some(high) = raised(c) {
            text.next();
            above.push(letter(high));
        } else if is_mark {
            text.next();
            let script = match text.next() {
                Some('{') => row(text, Some('}'), depth + 1),
                Some(c) if c.is_ascii_digit() => {
                    html! { mn { (rest(c, text, char::is_ascii_digit)) } }
                }
                Some(c) if c.is_alphabetic() => {
                    html! { mi { (rest(c, text, char::is_ascii_alphabetic)) } }
                }
                Some(c) => html! { mo { (c) } },
                None => html! { mo { (c) } },
            };
            if c == '_' { below.push(script) } else { above.push(script) }
        } else {
            break;
        }
    }
    let all = |parts: &[Markup]| html! { mrow { @for part in parts { (part) } } };
    let (low, high) = (all(&below), all(&above));
    let base = html! { mrow { (part) } };
    match (below.is_empty(), above.is_empty()) {
        (true, true) => part,
        (false, true) if matches!(first, 'Σ' | 'Π') => html! { munder { (base) (low) } },
        (false, true) => html! { msub { (base) (low) } },
        (true, false) => html! { msup { (base) (high) } },
        (false, false) => html! { msubsup { (base) (low) (high) } },
    }
}

fn letter(c: char) -> Markup {
    if c.is_ascii_digit() {
        html! { mn { (c) } }
    } else if c.is_alphabetic() {
        html! { mi { (c) } }
    } else {
        html! { mo { (c) } }
    }
}

/// What a character below the line stands for.
fn lowered(c: char) -> Option<char> {
    let all = "₀0₁1₂2₃3₄4₅5₆6₇7₈8₉9₊+₋-ₐaₑeₕhᵢiⱼjₖkₗlₘmₙnₒoₚpᵣrₛsₜtᵤuᵥvₓxᵦβᵧγ";
    pair(all, c)
}

/// What a character above the line stands for.
fn raised(c: char) -> Option<char> {
    let all = "⁰0¹1²2³3⁴4⁵5⁶6⁷7⁸8⁹9⁺+⁻-ᵃaᵇbᶜcᵈdᵉeᵍgʰhⁱiʲjᵏkˡlᵐmⁿnᵒoᵖpʳrˢsᵗtᵘuᵛvʷwˣxʸyᵀT";
    pair(all, c)
}

fn pair(all: &str, c: char) -> Option<char> {
    let mut chars = all.chars();
    while let (Some(from), Some(to)) = (chars.next(), chars.next()) {
        if from == c {
            return Some(to);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{is_equation, typeset};

    fn math(text: &str) -> String {
        typeset(text).into_string().replace("<mrow>", "").replace("</mrow>", "")
    }

    #[test]
    fn indices_and_powers_stand_where_they_belong() {
        assert!(
            math("dᵢⱼ²").contains("<msubsup><mi>d</mi><mi>i</mi><mi>j</mi><mn>2</mn></msubsup>")
        );
        assert!(math("e^{-αx}").contains("<msup><mi>e</mi><mo>−</mo><mi>α</mi><mi>x</mi></msup>"));
        assert!(math("Σᵢ x").contains("<munder><mo>∑</mo><mi>i</mi></munder><mi>x</mi>"));
        assert!(math("√(2 - x)").contains("<msqrt><mn>2</mn><mo>−</mo><mi>x</mi></msqrt>"));
        assert!(math("1e-12").starts_with("<div"));
    }

    #[test]
    fn whatever_it_is_it_ends_and_is_escaped() {
        let deep = "_{".repeat(10_000);
        for text in ["<script>", "a_", "a^{", "√(((", "}}}", deep.as_str(), "\u{202e}x", "&amp;"]
        {
            let shown = math(text);
            assert!(!shown.contains("<script>"), "{shown}");
        }
    }

    #[test]
    fn a_paragraph_that_says_what_something_is_is_an_equation() {
        assert!(is_equation("L = 1/n Σᵢ xᵢ\nwhere x = 2"));
        assert!(is_equation("wᵢⱼ = exp(x)"));
        assert!(!is_equation("The mean runs over the row, with a = 3."));
        assert!(!is_equation("No sign."));
    }
}
