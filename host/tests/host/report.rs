//! Reports, and what a new user sees first.

use crate::program::retort;
use serde_json::Value;
use std::path::Path;
use std::process::Output;

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn train(role: &str, more: &[&str], dir: &Path) {
    let tiny = [
        "--device=cpu",
        "--set=data.classes=16",
        "--set=data.images=8",
        "--width=4",
        "--embedding=8",
        "--epochs=2",
        "--batch=16",
        "--set=train.log_every=1",
        "--set=train.evaluate_every=1",
    ];
    stdout(&retort(&[&["train", role], &tiny[..], more].concat(), dir));
}

fn runs(dir: &Path) {
    train("source", &["--loss=proxy_anchor", "--out=runs/source"], dir);
    let target = ["--source=runs/source", "--loss=rkd", "--loss=proxy_anchor", "--out=runs/target"];
    train("target", &target, dir);
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

#[test]
fn a_report_holds_everything_and_loads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    runs(dir.path());
    let output = retort(&["report", "runs", "--out=r.html", "--device=cpu", "--json"], dir.path());
    let result: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&result["runs"], &result["lacks"]), (&2.into(), &Value::Array(Vec::new())));
    let html = std::fs::read_to_string(dir.path().join("r.html")).unwrap();

    // Nothing is loaded from anywhere, and nothing runs.
    for outside in
        ["http://", "https://", "<script", "<link", "@import", "url(", " src=\"/", "javascript:"]
    {
        assert!(!html.contains(outside), "{outside}");
    }
    // Each picture is there once, and every one that is shown is there.
    assert_eq!(count(&html, "<image id=\"p"), count(&html, "href=\"data:image/"));
    for used in html.split("<use href=\"#").skip(1) {
        let id = used.split('"').next().unwrap();
        assert_eq!(count(&html, &format!("<image id=\"{id}\"")), 1, "{id}");
    }
    // The tags are balanced, so that no section swallows the next.
    for tag in ["div", "section", "figure", "svg", "table", "details", "p", "span", "ul"] {
        let opened = count(&html, &format!("<{tag} ")) + count(&html, &format!("<{tag}>"));
        assert_eq!(opened, count(&html, &format!("</{tag}>")), "<{tag}>");
    }
    // Two networks, eight queries or fewer with eight neighbours each.
    let marked = count(&html, "picture right") + count(&html, "picture wrong");
    let queries = count(&html, "class=\"query\"");
    assert!((1..=8).contains(&queries) && marked == queries * 2 * 8, "{queries} {marked}");
    // The target's terms, the metric over two epochs, both networks' distances and one before training.
    for curve in
        ["<b>rkd</b>", "<b>proxy_anchor</b>", "<b>Recall@1 in %</b>", "<b>learning rate</b>"]
    {
        assert!(html.contains(curve), "{curve}");
    }
    assert_eq!(count(&html, "A pair of one class is closer"), 3);
    assert!(html.contains("target before training"));
    assert_eq!(count(&html, ", t-SNE</figcaption>"), 2);
    // Recall over the epochs: both runs in one plot, each point with its value.
    let epochs = html.split("<section id=\"epochs\">").nth(1).unwrap();
    let plot = epochs.split("</figure>").next().unwrap();
    assert!(plot.contains("<b>Recall@1 in %</b>") && count(plot, "<polyline") == 2, "{plot}");
    let metrics = std::fs::read_to_string(dir.path().join("runs/target/metrics.jsonl")).unwrap();
    let lines = metrics.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
    let recalls: Vec<f64> = lines.filter_map(|l| l["recall"]["1"].as_f64()).collect();
    assert_eq!(recalls.len(), 2);
    for (epoch, recall) in (1..).zip(&recalls) {
        let value = format!("<title>target, epoch {epoch}: {:.4}</title>", 100.0 * recall);
        assert!(plot.contains(&value), "{value}");
    }
    // What the runs were made of.
    let info = std::fs::read_to_string(dir.path().join("runs/target/run.json")).unwrap();
    let info: Value = serde_json::from_str(&info).unwrap();
    assert!(html.contains(info["plugins"][0]["digest"].as_str().unwrap()));
    assert!(html.contains("images_per_class = 4"));

    // The picture that a metric's number is drawn as is the run's own.
    let summary = std::fs::read_to_string(dir.path().join("runs/target/summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let recall = format!("<td>{:.1}</td>", 100.0 * summary["recall"]["1"].as_f64().unwrap());
    assert!(html.contains(&recall), "{recall}");
}

/// Single runs get a verdict and a bold best, whole names, and neighbours of every network on their data.
#[test]
fn single_runs_are_compared() {
    let dir = tempfile::tempdir().unwrap();
    train("source", &["--loss=proxy_anchor", "--out=runs/source"], dir.path());
    let long = "relaxed_contrastive_with_a_name_that_no_column_of_a_plot_would_hold";
    for (name, loss) in
        [(long, "relaxed_contrastive"), ("rkd", "rkd"), ("pkt", "pkt"), ("dist", "dist")]
    {
        let more =
            [&format!("--out=runs/{name}")[..], &format!("--loss={loss}"), "--source=runs/source"];
        train("target", &more, dir.path());
    }
    let elsewhere = ["--loss=rkd", "--out=runs/zz", "--source=runs/source", "--set=data.images=6"];
    train("target", &elsewhere, dir.path());
    let output = retort(&["report", "runs", "--out=r.html", "--device=cpu", "--json"], dir.path());
    let result: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let lack = "no neighbours of zz: it is on other data than source";
    assert_eq!(result["lacks"], serde_json::json!([lack]));
    let html = std::fs::read_to_string(dir.path().join("r.html")).unwrap();
    assert!(html.contains(lack) && html.contains(long));

    let recall = |name: &str| {
        let text = std::fs::read_to_string(dir.path().join("runs").join(name).join("summary.json"));
        let summary: Value = serde_json::from_str(&text.unwrap()).unwrap();
        100.0 * summary["recall"]["1"].as_f64().unwrap()
    };
    let mut ranked = [long, "rkd", "pkt", "dist"].map(|name| (name, recall(name)));
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let points = ranked[0].1 - ranked[1].1;
    let verdict = format!("{} is best, {points:.1} points of Recall@1 above ", ranked[0].0);
    assert!(html.contains(&verdict), "{verdict}");
    assert!(html.contains(&format!("<td class=\"best\">{:.1}</td>", ranked[0].1)));
    // Queries with five networks each: the source and four targets.
    let queries = count(&html, "class=\"query\"");
    assert_eq!(count(&html, "<use href"), queries * (1 + 5 * 8));
    // Five have distances, and the target before training; four are drawn.
    assert_eq!(count(&html, "A pair of one class is closer"), 6);
    assert_eq!(count(&html, ", t-SNE</figcaption>"), 4);
    assert!(html.contains("Left out, to keep the page short: "));
}

/// The report of a suite has the neighbours of all methods, and all methods' Recall in one plot.
#[test]
fn a_suites_methods_are_laid_over_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut suite = "seeds = [0, 1]\n[base]\nrecall_at = [1, 2]\ndata = { classes = 16, images = 6 }\n\
                     train = { batch = 16, images_per_class = 4, epochs = 2, evaluate_every = 1 }\n\
                     [source]\nloss = \"proxy_anchor\"\nnetwork = { width = 4, embedding = 8 }\n\
                     [target]\nnetwork = { width = 2, embedding = 4 }\n[[dataset]]\nname = \"glyphs\"\n\
                     [[method]]\nname = \"no transfer\"\ntransfer = false\nloss = \"proxy_anchor\"\n"
        .to_owned();
    let methods = ["relaxed_contrastive", "relaxed_ms", "rkd", "pkt", "dist"];
    suite.extend(
        methods.map(|loss| format!("[[method]]\nname = \"with {loss}\"\nloss = \"{loss}\"\n")),
    );
    std::fs::write(dir.path().join("suite.toml"), suite).unwrap();
    stdout(&retort(&["compare", "suite.toml", "--out=suite", "--device=cpu"], dir.path()));
    let output = retort(&["report", "suite", "--out=r.html", "--device=cpu", "--json"], dir.path());
    let result: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(result["lacks"], serde_json::json!([]));
    let html = std::fs::read_to_string(dir.path().join("r.html")).unwrap();
    let epochs = html.split("<section id=\"epochs\">").nth(1).unwrap();
    let plot = epochs.split("</figure>").next().unwrap();
    assert_eq!(count(plot, "<polyline"), 2 + methods.len());

    // A point is the mean over the seeds.
    let results = std::fs::read_to_string(dir.path().join("suite/results.json")).unwrap();
    let results: Value = serde_json::from_str(&results).unwrap();
    for row in results["tables"][0]["rows"].as_array().unwrap() {
        let mean = row["cells"][0]["recall"][0]["mean"].as_f64().unwrap();
        let name = row["name"].as_str().unwrap();
        let value = format!("<title>{name}, epoch 2: {mean:.4}</title>");
        assert!(plot.contains(&value), "{value}");
        assert!(html.contains(&format!("<span>{name} <small>")), "no neighbours of {name}");
    }
}

#[test]
fn a_report_says_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    runs(dir.path());
    // A run that is still training: half a line, no summary, no checkpoint.
    let run = dir.path().join("runs/target");
    std::fs::remove_file(run.join("summary.json")).unwrap();
    std::fs::remove_file(run.join("checkpoint.safetensors")).unwrap();
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    std::fs::write(run.join("metrics.jsonl"), &metrics[..metrics.len() - 9]).unwrap();
    stdout(&retort(&["report", "runs/target", "--out=r.html", "--device=cpu"], dir.path()));
    let html = std::fs::read_to_string(dir.path().join("r.html")).unwrap();
    assert!(html.contains("not finished") && html.contains("none of the runs has a checkpoint"));

    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let output = retort(&["report", "empty", "--device=cpu"], dir.path());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("no run folder"), "{text}");
    assert!(!dir.path().join("report.html").exists());
}

#[test]
fn retort_alone_says_what_it_is_and_what_to_try() {
    let dir = tempfile::tempdir().unwrap();
    let text = stdout(&retort(&[], dir.path()));
    let tries = text.lines().filter(|l| l.starts_with("  retort ")).count();
    assert!(tries == 3 && text.contains("embedding transfer"), "{text}");
    assert!(!text.contains('\x1b'));
}

#[test]
fn completions_know_the_commands() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let text = stdout(&retort(&["completions", shell], dir.path()));
        assert!(text.contains("compare") && text.contains("data-root"), "{shell}");
    }
    let output = retort(&["completions", "bsh"], dir.path());
    assert!(String::from_utf8_lossy(&output.stderr).contains("bash"));
}

#[test]
fn slips_get_the_nearest_name() {
    let dir = tempfile::tempdir().unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["tran"], "train"),
        (&["train", "source", "--los=rkd"], "--loss"),
        (&["train", "source", "--loss=rdk"], "rkd"),
        (&["train", "source", "--loss=rkd", "--set=train.epoch=1"], "`epochs`"),
        (&["loss", "info", "triplett"], "triplet"),
        (&["compare", "x.toml", "--fromat=text"], "--format"),
    ];
    for (args, near) in cases {
        let output = retort(args, dir.path());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(near), "{args:?}: {text}");
        assert!(!text.contains('\x1b'), "{args:?}");
    }
}

/// Every `--help` ends with examples, and each is a command line that the program accepts.
#[test]
fn every_help_has_an_example_that_parses() {
    use clap::{CommandFactory as _, Parser as _};
    fn each(command: &clap::Command, path: &str) {
        let path = format!("{path}{} ", command.get_name());
        if command.get_name() == "help" {
            return;
        }
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<&str> = help.lines().filter(|l| l.starts_with("  retort ")).collect();
        assert!(!examples.is_empty(), "`{path}--help` has no example");
        for example in examples {
            let words = example.split(" > ").next().unwrap().split_whitespace();
            // A folder for data must be there; any will do here.
            let mut root = false;
            let words = words.map(|word| {
                let here =
                    std::mem::replace(&mut root, word == "--data-root") && !word.contains('=');
                if here { "." } else { word }
            });
            let parsed = retort_host::command::Cli::try_parse_from(words);
            // `--help` itself is an answer, not an error.
            let asked = example.ends_with("--help");
            assert!(parsed.is_ok() || asked, "{example}: {}", parsed.unwrap_err());
        }
        command.get_subcommands().for_each(|sub| each(sub, &path));
    }
    each(&retort_host::command::Cli::command(), "");
}
