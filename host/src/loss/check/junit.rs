//! Verdicts as a JUnit file, which forges show beside a change.

use super::{Status, Subject, Verdict, in_words};
use std::fmt::Write as _;

/// One suite a loss, one test a property.
pub fn xml(subjects: &[Subject], verdicts: &[Vec<Verdict>]) -> String {
    let all = || verdicts.iter().flatten();
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites".to_owned();
    totals(&mut out, "retort loss check", all());
    for (subject, verdicts) in subjects.iter().zip(verdicts) {
        let name = &subject.found.definition.name;
        out.push_str("  <testsuite");
        totals(&mut out, name, verdicts.iter());
        for verdict in verdicts {
            let seconds = verdict.seconds;
            let _ = write!(
                out,
                "    <testcase classname=\"{}\" name=\"{}\" time=\"{seconds:.3}\">",
                escape(name),
                escape(verdict.property.name())
            );
            let detail = escape(&verdict.detail);
            match verdict.status {
                Status::Holds => {
                    let _ = write!(out, "<system-out>{detail}</system-out>");
                }
                Status::Exempt | Status::Unchecked => {
                    let _ = write!(out, "<skipped message=\"{}: {detail}\"/>", verdict.status);
                }
                Status::Fails => {
                    let input = verdict.input.as_ref().map(in_words);
                    let input = input.map(|i| format!("smallest input: {i}\n")).unwrap_or_default();
                    let text = input + verdict.remedy().unwrap_or_default();
                    let _ =
                        write!(out, "<failure message=\"{detail}\">{}</failure>", escape(&text));
                }
            }
            out.push_str("</testcase>\n");
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

/// The attributes of a suite, and the end of its tag.
fn totals<'a>(out: &mut String, name: &str, verdicts: impl Iterator<Item = &'a Verdict>) {
    let (mut tests, mut failures, mut skipped, mut seconds) = (0, 0, 0, 0.0);
    for verdict in verdicts {
        tests += 1;
        seconds += verdict.seconds;
        failures += usize::from(verdict.status == Status::Fails);
        skipped += usize::from(matches!(verdict.status, Status::Exempt | Status::Unchecked));
    }
    let _ = writeln!(
        out,
        " name=\"{}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" \
         time=\"{seconds:.3}\">",
        escape(name)
    );
}

/// Text within an element or an attribute. XML has no place for most control characters.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                out.extend(c.escape_default());
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn what_xml_forbids_is_not_written() {
        assert_eq!(
            escape("a < b & \"c\"\u{1b}[0m\n"),
            "a &lt; b &amp; &quot;c&quot;\\u{1b}[0m&#10;"
        );
    }
}
