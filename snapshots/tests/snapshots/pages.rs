//! What `docs/` lists is made from what the program knows: of each page below the part between the marks
//! must be what is made now. `RETORT_BLESS=1 cargo test --workspace --test snapshots pages` writes it.

use clap::CommandFactory as _;
use retort_core::backbone::{NetworkConfig, networks, summary};
use retort_core::{Limits, Recipe, Setting};
use retort_datasets::DATASETS;
use retort_host::command::{Cli, parts};
use retort_host::experiment::{Data, Experiment};
use retort_host::plugin::registry::Registry;
use retort_sdk::Op;
use retort_sdk::op::Kind;
use retort_sdk::schema::{Definition, Field};
use retort_snapshots::{built, retort, workspace};
use serde_json::Value;
use std::fmt::Write as _;
use std::process::Command;

const BEGIN: &str =
    "<!-- made by `RETORT_BLESS=1 cargo test --workspace --test snapshots pages` -->\n";
const END: &str = "<!-- end of what is made -->\n";

/// Compares the page's part between the marks with what it should be, or writes it.
fn made(page: &str, part: &str) {
    let path = workspace().join("docs").join(page);
    let text = std::fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    let (before, rest) = text.split_once(BEGIN).expect("the page has the mark of the beginning");
    let (was, after) = rest.split_once(END).expect("the page has the mark of the end");
    let part = format!("\n{}\n\n", part.trim());
    if was == part {
        return;
    }
    assert!(
        std::env::var_os("RETORT_BLESS").is_some_and(|v| v == "1"),
        "docs/{page} isn't what the program has; RETORT_BLESS=1 writes it. It should be:\n{part}"
    );
    std::fs::write(&path, format!("{before}{BEGIN}{part}{END}{after}")).unwrap();
}

/// A row of a Markdown table.
fn row(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// A table's head.
fn head(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    row(&names) + &format!("|{}\n", "---|".repeat(names.len()))
}

/// What the program says of a loss: the tensors it asks for, among others.
fn info(loss: &str) -> Value {
    let output = Command::new(retort()).args(["loss", "info", loss, "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a loss does, in a line.
fn summary_of(loss: &Definition) -> String {
    loss.doc.split("\n\n").next().unwrap_or_default().replace('\n', " ")
}

/// A page of losses whose sources lie in a folder. `before` is what their names need before them.
fn list_of_losses(losses: &[Definition], before: &str, folder: &str) -> String {
    let mut page = head(&["loss", "what it does"]);
    for loss in losses {
        page += &row(&[format!("[`{0}`](#{0})", loss.name), summary_of(loss)]);
    }
    for loss in losses {
        let (name, told) = (&loss.name, info(&format!("{before}{}", loss.name)));
        let list = |key: &str| {
            let names = told[key].as_array().unwrap().iter();
            let names = names.map(|name| format!("`{}`", name.as_str().unwrap()));
            names.collect::<Vec<_>>().join(", ")
        };
        write!(page, "\n## {name}\n\n```text\n{}\n```\n\n", loss.doc).unwrap();
        if !loss.hyper.is_empty() {
            page += &head(&["hyperparameter", "default", "range", "meaning"]);
        }
        for field in &loss.hyper {
            let range = match field.choices.as_slice() {
                [] if field.default.is_boolean() => "true, false".to_owned(),
                [] => field.range.to_string(),
                words => words.join(", "),
            };
            let name = format!("`{}`", field.name);
            page += &row(&[name, field.default.to_string(), range, field.doc.replace('\n', " ")]);
        }
        for (property, reason) in &loss.exempt {
            let property = property.replace('_', " ");
            write!(page, "\nExempt from the check of {property}: {reason}.\n").unwrap();
        }
        write!(page, "\nReads {}", list("inputs")).unwrap();
        for (key, what) in [("parameters", "learns"), ("buffers", "keeps")] {
            if !told[key].as_array().unwrap().is_empty() {
                write!(page, "; {what} {}", list(key)).unwrap();
            }
        }
        write!(page, ".\n\n{} Source: `{folder}/{name}.rs`\n", loss.paper).unwrap();
    }
    page
}

#[test]
fn losses() {
    let registry = Registry::new(Limits::default()).unwrap();
    let losses = &registry.builtin().description.losses;
    made("losses.md", &list_of_losses(losses, "", "plugins/src"));
}

/// The second pack's page, and the table of its own README.
#[test]
fn losses_of_the_second_pack() {
    let file = built("plugins/recent").native.unwrap();
    let mut registry = Registry::new(Limits::default()).unwrap();
    let losses = registry.pack(&file).unwrap().description.losses.clone();
    let before = format!("{}#", file.display());
    made("recent.md", &list_of_losses(&losses, &before, "plugins/recent/src"));

    let mut table = head(&["loss", "what it does", "paper"]);
    for loss in &losses {
        table += &row(&[format!("`{}`", loss.name), summary_of(loss), loss.paper.clone()]);
    }
    made("../plugins/recent/README.md", &table);
}

#[test]
fn networks_with_their_sizes() {
    let mut page = head(&[
        "network",
        "what it is",
        "pictures",
        "feature maps",
        "pooled",
        "parameters",
        "MACs",
        "paper",
    ]);
    for n in networks() {
        let config = NetworkConfig { name: n.name.to_owned(), ..NetworkConfig::default() };
        let s = summary(&config, [n.image_size; 2]).unwrap();
        let (parameters, macs) = s.embedding();
        let (pooled, maps) = s.features.split_last().unwrap();
        let maps = maps.iter().map(|f| format!("{}x{}x{}", f[1], f[2], f[3]));
        page += &row(&[
            format!("`{}`", n.name),
            n.doc.to_owned(),
            format!("{0}x{0}", n.image_size),
            maps.collect::<Vec<_>>().join(", "),
            pooled[1].to_string(),
            format!("{:.1} M", (s.parameters - parameters) as f64 / 1e6),
            format!("{:.2} G", (s.macs - macs) as f64 / 1e9),
            n.paper.to_owned(),
        ]);
    }
    made("networks.md", &page);
}

#[test]
fn data_sets() {
    let mut page = head(&["data set", "what it holds", "`--data-root`"]);
    for entry in DATASETS {
        let files = entry.files.strip_prefix("Give the folder (--data-root) that holds ");
        let files = files.unwrap_or("none: it is generated");
        page += &row(&[format!("`{}`", entry.name), entry.doc.to_owned(), files.to_owned()]);
    }
    made("datasets.md", &page);
}

/// A table of options.
fn options(fields: &[Field]) -> String {
    let mut table = head(&["option", "default", "range", "meaning"]);
    for field in fields {
        let doc = field.doc.replace('\n', " ");
        table +=
            &row(&[format!("`{}`", field.name), parts::default(field), parts::range(field), doc]);
    }
    table
}

#[test]
fn settings_and_parts() {
    let defaults = serde_json::to_value(Experiment::default()).unwrap();
    let tables: [(&str, &str, &[Setting]); 4] = [
        ("At the top", "", Experiment::SETTINGS),
        ("`[data]`", "data", Data::SETTINGS),
        ("`[network]`", "network", NetworkConfig::SETTINGS),
        ("`[train]`", "train", Recipe::SETTINGS),
    ];
    let mut page = String::new();
    for (title, key, settings) in tables {
        let of = if key.is_empty() { &defaults } else { &defaults[key] };
        write!(page, "\n## {title}\n\n").unwrap();
        page += &head(&["key", "default", "range", "meaning"]);
        for setting in settings.iter().filter(|s| !of[s.key].is_object() && s.key != "own") {
            let default = match &of[setting.key] {
                // Not written while it is the default.
                Value::Null if setting.key == "on_empty_class" => "error".to_owned(),
                Value::Null => "none".to_owned(),
                Value::String(word) => word.clone(),
                value => value.to_string(),
            };
            let range = (setting.range)().map(|range| range.to_string()).unwrap_or_default();
            page += &row(&[format!("`{}`", setting.key), default, range, setting.line()]);
        }
        let own: Vec<(&str, Vec<Field>)> = match key {
            "data" => DATASETS.iter().map(|d| (d.name, (d.options)())).collect(),
            "network" => networks().map(|n| (n.name, (n.options)())).collect(),
            _ => Vec::new(),
        };
        for (name, fields) in own.iter().filter(|(_, fields)| !fields.is_empty()) {
            write!(page, "\nOf `{name}` alone:\n\n{}", options(fields)).unwrap();
        }
    }
    let mut key = "";
    for part in parts::all() {
        if part.key != key {
            key = part.key;
            write!(page, "\n## `{key}`\n").unwrap();
        }
        let doc = part.doc.join("\n\n");
        write!(page, "\n### {}\n\n{doc}\n", part.name).unwrap();
        if !part.options.is_empty() {
            write!(page, "\n{}", options(&part.options)).unwrap();
        }
    }
    made("settings.md", &page);
}

#[test]
fn operations_of_the_interface() {
    let mut page = head(&["code", "operation", "operands", "numbers", "result", "what it does"]);
    for &op in Op::ALL {
        let signature = op.signature();
        let kind = |kind: &Kind| format!("{kind:?}").to_lowercase();
        let operands: Vec<String> = signature.operands.iter().map(kind).collect();
        let numbers: Vec<String> = signature
            .attributes
            .iter()
            .map(|(name, kind)| format!("{name}: {}", format!("{kind:?}").to_lowercase()))
            .collect();
        page += &row(&[
            (op as u32).to_string(),
            format!("`{op:?}`"),
            operands.join(", "),
            numbers.join(", "),
            kind(&signature.result),
            op.doc().trim().to_owned(),
        ]);
    }
    made("interface.md", &page);
}

/// The SDK for Python has the operations' codes from the same list.
#[test]
fn operations_of_the_sdk_for_python() {
    let mut text = String::from(
        "\"\"\"The operations by their codes. Made from `sdk/src/op.rs`: `RETORT_BLESS=1 cargo test --workspace --test snapshots pages`\n\
         writes it.\"\"\"\n\nfrom typing import Final\n\n",
    );
    for op in Op::ALL {
        let (name, code) = (op.to_string().to_uppercase(), *op as u32);
        writeln!(text, "{name}: Final = {code}\n\"\"\"{}\"\"\"", op.doc().trim()).unwrap();
    }
    let path = workspace().join("sdk/python/retort_sdk/op.py");
    if std::fs::read_to_string(&path).unwrap().replace("\r\n", "\n") == text {
        return;
    }
    let bless = std::env::var_os("RETORT_BLESS").is_some_and(|v| v == "1");
    assert!(
        bless,
        "sdk/python/retort_sdk/op.py isn't made of today's operations; RETORT_BLESS=1 writes it"
    );
    std::fs::write(&path, text).unwrap();
}

#[test]
fn commands_with_their_flags() {
    // What every command takes is said once, above.
    let mut cli = Cli::command();
    cli = cli.mut_args(|arg| arg.hide(true)).disable_help_flag(true).disable_version_flag(true);
    cli.build();
    let (mut table, mut sections) = (head(&["command", "what it does"]), String::new());
    for command in cli.get_subcommands_mut() {
        if command.get_name() == "help" {
            continue;
        }
        let all: Vec<&mut clap::Command> = if command.has_subcommands() {
            command.get_subcommands_mut().filter(|c| c.get_name() != "help").collect()
        } else {
            vec![command]
        };
        for command in all {
            let name = command.get_bin_name().unwrap().to_owned();
            let about = command.get_about().unwrap().to_string();
            table += &row(&[format!("[`{name}`](#{})", name.replace(' ', "-")), about]);
            let help = command.render_help().to_string();
            let help: Vec<&str> = help.lines().map(str::trim_end).collect();
            write!(sections, "\n## {name}\n\n```text\n{}\n```\n", help.join("\n").trim()).unwrap();
        }
    }
    made("commands.md", &format!("{table}{sections}"));
}

/// A table between the marks of `docs/tables.py`, as its rows' numbers.
fn demo_table(page: &str) -> Vec<Vec<f64>> {
    let text = std::fs::read_to_string(workspace().join(page)).unwrap();
    let (_, table) = text.split_once("<!-- docs/tables.py: begin demo -->").unwrap();
    let (table, _) = table.split_once("<!-- docs/tables.py: end -->").unwrap();
    let numbers = |row: &str| {
        let words = row.split(|c: char| c.is_whitespace() || ",|".contains(c));
        words.filter_map(|word| word.parse().ok()).collect::<Vec<f64>>()
    };
    table.lines().map(numbers).filter(|row| row.len() >= 6).collect()
}

/// One run, one number: the README's are those of the benchmarks' first seed.
#[test]
fn the_readme_and_the_benchmarks_have_the_same_numbers() {
    let (readme, benchmarks) = (demo_table("README.md"), demo_table("docs/benchmarks.md"));
    assert_eq!((readme.len(), benchmarks.len()), (4, 8));
    for (one, seeds) in readme.iter().zip(&benchmarks) {
        assert!((one[0] - seeds[0]).abs() < 1e-9, "{one:?} {seeds:?}");
        // The mean of the first three is the fourth.
        let mean = seeds[..3].iter().sum::<f64>() / 3.0;
        assert!((mean - seeds[3]).abs() < 0.1, "{seeds:?}");
    }
}
