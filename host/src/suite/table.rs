//! A suite's tables as text, Markdown, LaTeX and CSV.

use super::result::{Column, Recall, Results, Table, Test, Trials};
use crate::terminal::clean;
use crate::terminal::output::json_text;
use clap::ValueEnum;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// What a table is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns.
    Text,
    /// A table of GitHub's Markdown.
    Markdown,
    /// A `tabular` with booktabs.
    Latex,
    /// One line a number, for other programs.
    Csv,
    /// Everything, with the run folders.
    Json,
}

impl Format {
    /// All of them, with the files that `retort compare` writes.
    pub const FILES: [(Format, &'static str); 5] = [
        (Format::Text, "table.txt"),
        (Format::Markdown, "table.md"),
        (Format::Latex, "table.tex"),
        (Format::Csv, "table.csv"),
        (Format::Json, "results.json"),
    ];
}

/// What the numbers are.
pub const LEGEND: &str = "Recall@K in % on classes that no training has seen: mean and standard \
                          deviation over the seeds.";

/// Writes results.
pub fn write(results: &Results, format: Format) -> String {
    match format {
        Format::Text => text(results),
        Format::Markdown => markdown(results),
        Format::Latex => latex(results),
        Format::Csv => csv(results),
        Format::Json => json_text(results) + "\n",
    }
}

/// `83.2 ± 0.4`, or less where less is known.
pub fn number(recall: &Recall, plus_minus: &str) -> Option<String> {
    let mean = recall.mean?;
    Some(match recall.deviation {
        Some(deviation) => format!("{mean:.1}{plus_minus}{deviation:.1}"),
        None => format!("{mean:.1}"),
    })
}

/// Values of a sweep, in words.
pub fn values(trial: &Map<String, Value>) -> String {
    trial.iter().map(|(k, v)| format!("{k} = {v}")).collect::<Vec<_>>().join(", ")
}

/// A row's name, with the values that its sweep chose.
fn row_name(name: &str, chosen: &Map<String, Value>) -> String {
    if chosen.is_empty() { name.to_owned() } else { format!("{name} ({})", values(chosen)) }
}

/// What the test at the first K found, in a sentence.
pub fn sentence(dataset: &str, test: &Test) -> String {
    let p = match test.p {
        None if test.seeds < 2 => "one seed allows no test".to_owned(),
        None => "paired t-test: undefined, the differences don't vary".to_owned(),
        Some(p) if p < 0.001 => "paired t-test: p < 0.001".to_owned(),
        Some(p) => format!("paired t-test: p = {p:.3}"),
    };
    let seeds = if test.seeds == 1 { "seed" } else { "seeds" };
    format!(
        "{dataset}: {} is best, {:.1} points above {} ({p}, {} {seeds})",
        test.best, test.difference, test.runner_up, test.seeds
    )
}

fn published(table: &Table) -> bool {
    table.rows.iter().flat_map(|r| &r.cells).flat_map(|c| &c.recall).any(|r| r.published.is_some())
}

/// Header and rows as words. `name` makes names fit for the format, `best` marks the best of a column.
fn cells(
    table: &Table,
    name: fn(&str) -> String,
    plus_minus: &str,
    best: impl Fn(String) -> String,
) -> Vec<Vec<String>> {
    let several = table.columns.len() > 1;
    let mut header = vec!["METHOD".to_owned()];
    for column in &table.columns {
        let name = if several { format!("{} ", name(&column.dataset)) } else { String::new() };
        header.extend(column.ks.iter().map(|k| format!("{name}R@{k}")));
    }
    let mut lines = vec![header];
    for row in &table.rows {
        let mut line = vec![name(&row_name(&row.name, &row.chosen))];
        for recall in row.cells.iter().flat_map(|c| &c.recall) {
            let own = number(recall, plus_minus).map(|n| if recall.best { best(n) } else { n });
            let own = own.unwrap_or_else(|| "-".to_owned());
            line.push(match recall.published {
                Some(p) => format!("{own} [{p:.1}]"),
                None => own,
            });
        }
        lines.push(line);
    }
    lines
}

fn notes(results: &Results, table: &Table, name: fn(&str) -> String) -> Vec<String> {
    let test = |column: &Column| {
        let test = column.test.clone()?;
        let test = Test { best: name(&test.best), runner_up: name(&test.runner_up), ..test };
        Some(sentence(&name(&column.dataset), &test) + ".")
    };
    let mut notes: Vec<String> = table.columns.iter().filter_map(test).collect();
    if published(table) {
        notes.push("In brackets: the paper's published numbers.".to_owned());
    }
    if !table.sweeps.is_empty() {
        notes.push(
            "Values in parentheses were chosen by the sweep, on these same classes: an optimistic \
             choice."
                .to_owned(),
        );
        let fewer = table.sweeps.iter().filter_map(Trials::fewer);
        notes.extend(fewer.map(|text| name(&text) + "."));
    }
    if results.missing > 0 {
        notes.push(format!("{} trainings are missing.", results.missing));
    }
    notes
}

fn text(results: &Results) -> String {
    let seeds: Vec<String> = results.seeds.iter().map(u64::to_string).collect();
    let mut out = format!(
        "{}\n{LEGEND}\nSeeds: {}. An asterisk marks the best method.\n",
        plain(&results.title),
        seeds.join(", ")
    );
    for table in &results.tables {
        if !table.setting.is_empty() {
            let _ = write!(out, "\n{}\n", plain(&table.setting));
        }
        let lines = cells(table, plain, " ± ", |n| format!("*{n}"));
        let _ = write!(out, "\n{}\n\n", align(&lines));
        for note in notes(results, table, plain) {
            let _ = writeln!(out, "{note}");
        }
        for sweep in &table.sweeps {
            let mut lines = vec![vec![format!("{}: TRIAL", plain(&sweep.method))]];
            let datasets = sweep.datasets.iter();
            lines[0].extend(datasets.map(|d| format!("{} R@{}", plain(d), sweep.k)));
            for (trial, means) in &sweep.trials {
                let mut line = vec![plain(&values(trial))];
                let mean = |m: &Option<f64>| m.map_or("-".to_owned(), |m| format!("{m:.1}"));
                line.extend(means.iter().map(mean));
                lines.push(line);
            }
            let _ = write!(out, "\n{}\n", align(&lines));
        }
    }
    out
}

/// Columns as wide as their content: the first to the left, the others to the right.
fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| {
        lines.iter().filter_map(|l| l.get(c)).map(|t| t.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |cells: &Vec<String>| {
        let cells = cells.iter().enumerate().map(|(c, text)| {
            let pad = " ".repeat(widths[c] - text.chars().count());
            if c == 0 { format!("{text}{pad}") } else { format!("{pad}{text}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn markdown(results: &Results) -> String {
    let mut out = format!("## {}\n\n{LEGEND}\n", mark(&results.title));
    for table in &results.tables {
        if !table.setting.is_empty() {
            let _ = write!(out, "\n### {}\n", mark(&table.setting));
        }
        let lines = cells(table, mark, " ± ", |n| format!("**{n}**"));
        for (i, line) in lines.iter().enumerate() {
            let _ = writeln!(out, "{}| {} |", if i == 0 { "\n" } else { "" }, line.join(" | "));
            if i == 0 {
                let _ = writeln!(out, "|---|{}", "--:|".repeat(line.len() - 1));
            }
        }
        out.push('\n');
        for note in notes(results, table, mark) {
            let _ = writeln!(out, "{note}  ");
        }
    }
    out
}

fn latex(results: &Results) -> String {
    let mut out = format!("% {}: needs \\usepackage{{booktabs}}\n", plain(&results.title));
    for table in &results.tables {
        let count: usize = table.columns.iter().map(|c| c.ks.len()).sum();
        let _ = writeln!(out, "% {}", plain(&table.setting));
        let _ = write!(out, "\\begin{{tabular}}{{l{}}}\n\\toprule\n", "c".repeat(count));
        for column in &table.columns {
            let (n, name) = (column.ks.len(), tex(&column.dataset));
            let _ = write!(out, " & \\multicolumn{{{n}}}{{c}}{{{name}}}");
        }
        out.push_str(" \\\\\nMethod");
        for k in table.columns.iter().flat_map(|c| &c.ks) {
            let _ = write!(out, " & R@{k}");
        }
        out.push_str(" \\\\\n\\midrule\n");
        let lines = cells(table, tex, " $\\pm$ ", |n| format!("\\textbf{{{n}}}"));
        for line in lines.into_iter().skip(1) {
            let _ = writeln!(out, "{} \\\\", line.join(" & "));
        }
        out.push_str("\\bottomrule\n\\end{tabular}\n");
        for note in notes(results, table, plain) {
            let _ = writeln!(out, "% {note}");
        }
    }
    out
}

/// A name for a terminal, or for a comment.
fn plain(text: &str) -> String {
    clean::line(text).into_owned()
}

/// A name for Markdown: no link, no HTML, no column of its own.
fn mark(text: &str) -> String {
    let mut out = String::new();
    for c in clean::line(text).chars() {
        if matches!(c, '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '|' | '~' | '&') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A name for LaTeX.
fn tex(text: &str) -> String {
    let escape = |c: char| match c {
        '&' | '%' | '$' | '#' | '_' | '{' | '}' => format!("\\{c}"),
        '\\' => "\\textbackslash{}".to_owned(),
        '~' => "\\textasciitilde{}".to_owned(),
        '^' => "\\textasciicircum{}".to_owned(),
        c => c.to_string(),
    };
    clean::line(text).chars().map(escape).collect()
}

fn csv(results: &Results) -> String {
    let mut out =
        "setting,dataset,method,values,k,seed,recall,mean,deviation,published,run\n".to_owned();
    for table in &results.tables {
        for row in &table.rows {
            for (column, cell) in table.columns.iter().zip(&row.cells) {
                for (i, (k, recall)) in column.ks.iter().zip(&cell.recall).enumerate() {
                    for done in &cell.runs {
                        let number = |x: Option<f64>| x.map(|x| x.to_string()).unwrap_or_default();
                        let fields = [
                            quote(&table.setting),
                            quote(&column.dataset),
                            quote(&row.name),
                            quote(&values(&row.chosen)),
                            k.to_string(),
                            done.seed.to_string(),
                            (100.0 * done.recall[i]).to_string(),
                            number(recall.mean),
                            number(recall.deviation),
                            number(recall.published),
                            quote(&done.run.display().to_string()),
                        ];
                        let _ = writeln!(out, "{}", fields.join(","));
                    }
                }
            }
        }
    }
    out
}

/// A text of CSV. What a spreadsheet would take for a formula begins with an apostrophe.
fn quote(text: &str) -> String {
    let text = clean::line(text);
    let text =
        if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.into() };
    if text.contains([',', '"', '\'']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{mark, quote, tex};

    #[test]
    fn names_stay_names_in_every_format() {
        assert_eq!(
            mark("a|b\n<img src=x>[c](d) rkd_x"),
            "a\\|b\\\\n\\<img src=x\\>\\[c\\](d) rkd_x"
        );
        assert_eq!(
            tex("\\input{/etc/x}\n%"),
            "\\textbackslash{}input\\{/etc/x\\}\\textbackslash{}n\\%"
        );
        assert_eq!(quote("=HYPERLINK(\"x\")"), "\"'=HYPERLINK(\"\"x\"\")\"");
        for (text, quoted) in
            [("@a", "\"'@a\""), ("-1", "\"'-1\""), ("a,b", "\"a,b\""), ("rkd", "rkd")]
        {
            assert_eq!(quote(text), quoted);
        }
    }
}
