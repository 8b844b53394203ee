//! What trainings leave behind, and the commands that look at it.

use crate::program::{json, retort};
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const TINY: &[&str] = &[
    "--device=cpu",
    "--set=data.classes=20",
    "--set=data.images=6",
    "--width=2",
    "--embedding=8",
    "--epochs=4",
    "--batch=16",
    "--images-per-class=4",
    "--loss=proxy_anchor",
    "--json",
];

fn train(more: &[&str], dir: &Path) -> Output {
    retort(&[&["train", "source"], TINY, more].concat(), dir)
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn error(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text.lines().rfind(|l| l.starts_with("error: ")).unwrap_or(&text).to_owned()
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn runs_are_listed_shown_compared_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    assert_eq!(text(&retort(&["runs", "list", "."], dir)), "no runs in .\n");
    json(&train(&["--out=runs/a", "--set=train.evaluate_every=1"], dir));
    json(&train(&["--out=runs/group/b", "--lr=0.01", "--seed=7"], dir));

    let list = json(&retort(&["runs", "list", "--json"], dir));
    let runs = list["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    for (run, name) in runs.iter().zip(["runs/a", "runs/group/b"]) {
        assert_eq!(run["run"], name);
        assert_eq!((&run["role"], &run["state"]), (&"source".into(), &"complete".into()));
        assert_eq!((&run["epochs"], &run["of"]), (&4.into(), &4.into()));
        assert_eq!((&run["loss"], &run["dataset"]), (&"proxy_anchor".into(), &"glyphs".into()));
        assert!(run["best"]["recall"].is_number());
    }
    let table = text(&retort(&["runs", "list"], dir));
    let header = table.lines().next().unwrap();
    let columns: Vec<&str> = header.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
    let wanted =
        ["RUN", "ROLE", "DATA", "LOSS", "DIFFERS IN", "BEST R@1", "EPOCHS", "BEGUN", "STATE"];
    assert_eq!(columns, wanted);
    assert!(table.contains("group/b") && table.contains("4/4"), "{table}");
    // The settings that aren't the same in all of them, and no others.
    assert!(table.contains("  seed=7 evaluate_every=0 lr=0.01  "), "{table}");
    assert_eq!(
        runs[1]["differs"],
        serde_json::json!({"seed": "7", "train.evaluate_every": "0", "train.lr": "0.01"})
    );

    let shown = json(&retort(&["runs", "show", "runs/a", "--json"], dir));
    assert_eq!(shown["config"]["train"]["epochs"], 4);
    assert_eq!(shown["summary"]["best"]["selected_on"], "test");
    assert_eq!(shown["info"]["plugins"][0]["loss"], "proxy_anchor");
    assert!(shown["info"]["hardware"]["threads"].is_number());
    // The best epoch is the one with the highest Recall@1 of all that were evaluated.
    let recalls: Vec<f64> = shown["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|line| line["recall"]["1"].as_f64())
        .collect();
    assert_eq!(recalls.len(), 4);
    let most = recalls.iter().copied().fold(0.0, f64::max);
    let best = &shown["summary"]["best"];
    assert_eq!(best["recall"]["1"], most);
    let first = 1 + recalls.iter().position(|&r| r == most).unwrap();
    assert_eq!(best["epoch"], first);
    let shown = text(&retort(&["runs", "show", "runs/a"], dir));
    for part in ["complete, 4/4 epochs", "Recall@1", "train.epochs", "loss proxy_anchor", "▁", "█"]
    {
        assert!(shown.contains(part), "no {part} in {shown}");
    }
    // As people read: no brackets, no quotes, no defaults, no digits that tell nothing.
    assert!(!shown.contains(['{', '[', '"']) && !shown.contains("momentum"), "{shown}");
    let (percent, when) = (
        format!("R@1 {:.1} %, R@2 ", 100.0 * most),
        format!(" % after epoch {first}, chosen on the test classes"),
    );
    assert!(shown.contains(&percent) && shown.contains(&when), "{shown}");

    let diff = json(&retort(&["runs", "diff", "runs/a", "runs/group/b", "--json"], dir));
    let keys: Vec<&String> = diff["config"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["seed", "train.evaluate_every", "train.lr"]);
    assert_eq!(diff["config"]["train.lr"], serde_json::json!(["0.002", "0.01"]));
    assert!(diff["run"].as_object().unwrap().contains_key("summary.loss"));
    assert!(!diff["run"].as_object().unwrap().contains_key("plugins.0.digest"));
    let diff = text(&retort(&["runs", "diff", "runs/a", "runs/group/b"], dir));
    assert!(diff.contains("train.lr") && diff.contains("0.01"), "{diff}");
    let headings: Vec<&str> =
        diff.lines().map(str::trim).filter(|l| l.len() > 4 && l.to_uppercase() == *l).collect();
    // What they were made with is the same, unless they began in different seconds.
    let headings: Vec<&str> = headings.into_iter().filter(|h| *h != "MADE WITH").collect();
    assert_eq!(headings, ["SETTINGS", "RESULTS"], "{diff}");
    assert!(!diff.contains(['{', '[', '"']) && !diff.contains("proxy_anchor"), "{diff}");
    let none = text(&retort(&["runs", "diff", "runs/a", "runs/a"], dir));
    assert_eq!(none, "the runs don't differ\n");

    assert!(error(&retort(&["runs", "rm", "runs/a"], dir), 2).contains("add --yes"));
    assert!(dir.join("runs/a/checkpoint.safetensors").is_file());
    assert_eq!(text(&retort(&["runs", "rm", "runs/a", "--yes"], dir)), "deleted runs/a\n");
    assert!(!dir.join("runs/a").exists() && dir.join("runs/group/b").exists());
}

#[test]
fn lists_are_chosen_from_and_ordered() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for (name, more) in [
        ("a", &["--lr=0.01"][..]),
        ("b", &["--lr=0.002", "--set=alpha=16"]),
        ("c", &["--lr=0.002"]),
    ] {
        json(&train(
            &[&["--set=train.epochs=1", &format!("--out=runs/{name}")], more].concat(),
            dir,
        ));
    }
    // A training that diverges leaves what it had, and says why it ended.
    let failed = train(&["--out=runs/d", "--lr=1e30"], dir);
    let why = error(&failed, 1);
    assert!(why.contains("the training has diverged"), "{why}");

    let list = |args: &[&str]| -> Vec<String> {
        let list = json(&retort(&[&["runs", "list", "--json"], args].concat(), dir));
        let runs = list["runs"].as_array().unwrap().iter();
        runs.map(|r| r["run"].as_str().unwrap().trim_start_matches("runs/").to_owned()).collect()
    };
    let cases: &[(&[&str], &str)] = &[
        (&[], "abcd"),
        (&["--where=lr<0.01"], "bc"),
        (&["--where=train.lr>=0.01"], "ad"),
        (&["--where", "lr = 1e-2"], "a"),
        (&["--where=state=failed"], "d"),
        (&["--where=state!=failed", "--where=alpha=16"], "b"),
        (&["--sort=lr", "--where=state=complete"], "bca"),
        (&["--sort=-lr"], "dabc"),
        (&["--sort", "-run"], "dcba"),
        (&["--where=loss=rkd", "--where=alpha=16", "--sort=alpha"], ""),
    ];
    for (args, wanted) in cases {
        assert_eq!(list(args).concat(), *wanted, "{args:?}");
    }
    let by_recall = list(&["--sort=-recall", "--where=state=complete"]);
    let recall = |name: &String| {
        let summary = read(&dir.join("runs").join(name).join("summary.json"));
        summary["best"]["recall"]["1"].as_f64().unwrap()
    };
    assert!(by_recall.windows(2).all(|w| recall(&w[0]) >= recall(&w[1])), "{by_recall:?}");

    let table = text(&retort(&["runs", "list"], dir));
    assert!(
        table.contains("alpha=16.0 epochs=1 lr=0.002")
            && table.contains("  failed: epoch 1, step "),
        "{table}"
    );
    let none = text(&retort(&["runs", "list", "--where=loss=rkd"], dir));
    assert_eq!(none, "no run in runs is as --where wants it\n");
    for (args, part) in [
        (&["--where=lrr<1"][..], "did you mean lr?"),
        (&["--where=lr"], "should be KEY=VALUE"),
        (&["--sort=nothing"], "no run has such a setting"),
    ] {
        let message = error(&retort(&[&["runs", "list"], args].concat(), dir), 2);
        assert!(message.contains(part), "{message}");
    }

    let shown = text(&retort(&["runs", "show", "runs/d"], dir));
    assert!(shown.contains(&why["error: ".len()..]), "{shown}");
    // It goes on from what it had once it can: its settings are the same, so it fails the same way.
    let again = retort(&["train", "resume", "runs/d", "--device=cpu"], dir);
    assert!(error(&again, 1).contains("the training has diverged"));
}

#[test]
fn what_is_no_run_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    json(&train(&["--out=group/run", "--set=train.epochs=1"], dir));
    std::fs::write(dir.join("group/notes.txt"), "mine").unwrap();
    let rm = |path: &str| retort(&["runs", "rm", path, "--yes"], dir);
    assert!(error(&rm("group"), 2).contains("group isn't a run"));
    assert!(error(&rm("group/notes.txt"), 2).contains("it is no folder"));
    assert!(error(&rm("missing"), 2).contains("there is no such folder"));
    // One that isn't a run keeps the others too.
    let both = retort(&["runs", "rm", "group/run", "missing", "--yes"], dir);
    assert!(error(&both, 2).contains("missing isn't a run"));
    // A run with another one inside.
    json(&train(&["--out=group/run/inner", "--set=train.epochs=1"], dir));
    assert!(error(&rm("group/run"), 2).contains("holds another run"));
    assert!(dir.join("group/run/inner/run.json").is_file());
    for command in ["show", "rm"] {
        assert!(error(&retort(&["runs", command, "group"], dir), 2).contains("no run.json"));
    }
    assert!(error(&retort(&["runs", "diff", "group/run", "x"], dir), 2).contains("x isn't a run"));
    assert!(error(&retort(&["runs", "list", "nowhere"], dir), 1).contains("nowhere"));

    // A damaged run doesn't hide the others, and can be deleted.
    std::fs::write(dir.join("group/run/inner/config.toml"), "seed = \n").unwrap();
    std::fs::rename(dir.join("group/run/inner"), dir.join("group/inner")).unwrap();
    let list = json(&retort(&["runs", "list", "group", "--json"], dir));
    assert!(list["runs"].as_array().unwrap().iter().any(|r| r["state"] == "complete"));
    let broken = list["runs"].as_array().unwrap().iter().find(|r| r["error"].is_string()).unwrap();
    assert!(broken["error"].as_str().unwrap().contains("config.toml, line 1"), "{broken}");
    assert!(rm("group/inner").status.success());
}

#[test]
fn the_best_epoch_can_be_chosen_on_held_out_classes() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let done = json(&train(&["--out=run", "--select-on=validation"], dir));
    let run = dir.join("run");
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap();
    for line in ["select_on = \"validation\"", "validation_classes = 0.2", "evaluate_every = 1"] {
        assert!(config.contains(line), "{config}");
    }
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines: Vec<Value> = metrics.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let evaluated: Vec<&Value> = lines.iter().filter(|l| l["recall"].is_object()).collect();
    assert_eq!(evaluated.len(), 4);
    assert!(evaluated.iter().all(|l| l["split"] == "validation"));

    // The best epoch is validation's; its Recall is the test classes'.
    let best = &done["best"];
    assert_eq!(best["selected_on"], "validation");
    let most = evaluated.iter().filter_map(|l| l["recall"]["1"].as_f64()).fold(0.0, f64::max);
    assert_eq!(best["selected_by"], most);
    let chosen = evaluated.iter().find(|l| l["recall"]["1"] == most).unwrap();
    assert_eq!(best["epoch"], chosen["epoch"]);
    let evaluate = |what: &str| -> Value {
        let data = ["--dataset=glyphs", "--device=cpu", "--json"];
        json(&retort(&[&["evaluate", what], &data[..]].concat(), dir))["recall"].clone()
    };
    assert_eq!(evaluate("run"), done["recall"]);
    std::fs::create_dir(dir.join("best")).unwrap();
    std::fs::copy(run.join("config.toml"), dir.join("best/config.toml")).unwrap();
    std::fs::copy(run.join("best.safetensors"), dir.join("best/checkpoint.safetensors")).unwrap();
    assert_eq!(evaluate("best"), best["recall"]);

    // Two of ten classes are held out: 8 proxies.
    let bytes = std::fs::read(run.join("best.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let proxies = file.names().into_iter().find(|n| n.starts_with("loss.0.param.")).unwrap();
    assert_eq!(file.tensor(proxies).unwrap().shape()[0], 8);

    for (set, part) in [
        ("--set=select_on=validation", "set data.validation_classes = 0.2"),
        ("--set=data.validation_classes=0.2", "set select_on = \"validation\""),
        ("--set=select_on=guess", "select_on"),
    ] {
        let message = error(&train(&[set], dir), 2);
        assert!(message.contains(part), "{message}");
    }
    let both = ["--set=select_on=validation", "--set=data.validation_classes=0.9"];
    assert!(error(&train(&both, dir), 1).contains("at least 2"));
}

#[test]
fn checkpoints_are_kept_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let keep = [
        "--out=run",
        "--set=train.epochs=7",
        "--set=train.checkpoint_every=2",
        "--set=train.keep=2",
    ];
    json(&train(&keep, dir));
    let entries = std::fs::read_dir(dir.join("run")).unwrap().map(|e| e.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|n| n.into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".safetensors"));
    names.sort();
    let expected = [
        "best.safetensors",
        "checkpoint.safetensors",
        "epoch-0004.safetensors",
        "epoch-0006.safetensors",
    ];
    assert_eq!(names, expected);
    // They hold the network and its losses, and the last one also what its training needs.
    let names = |file: &str| -> Vec<String> {
        let bytes = std::fs::read(dir.join("run").join(file)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut names: Vec<String> = file.names().into_iter().map(ToOwned::to_owned).collect();
        names.sort();
        names
    };
    let (kept, mut last) = (names("epoch-0004.safetensors"), names("checkpoint.safetensors"));
    assert!(last.iter().any(|name| name.starts_with("training.optimizer.")));
    last.retain(|name| !name.starts_with("training."));
    assert_eq!(kept, last);
    let summary = read(&dir.join("run/summary.json"));
    assert_eq!(summary["best"]["epoch"], 7);
}

/// What a terminal would obey, or a reader couldn't see.
fn acts(c: char) -> bool {
    c != '\n' && (c.is_control() || "\u{202e}\u{2066}\u{200b}\u{feff}\u{2028}".contains(c))
}

fn assert_clean(output: &Output) {
    for text in [&output.stdout, &output.stderr] {
        let text = String::from_utf8(text.clone()).unwrap();
        assert!(!text.contains(acts), "{text:?}");
        assert!(!text.contains("a bug in retort"), "{text}");
    }
}

/// Escape sequences in every place of a run folder that is shown, and in its name.
#[test]
fn nothing_in_a_run_folder_commands_the_terminal() {
    const EVIL: &str =
        "\x1b[2J\u{202e}\u{9b}31m\u{200b}\x07</pre><script>x</script>'\"&\nerror: forged";
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    json(&train(&["--out=good", "--set=train.epochs=2", "--set=train.evaluate_every=1"], dir));
    let bad = dir.join(format!("bad{}", EVIL.replace('/', "")));
    std::fs::rename(dir.join("good"), &bad).unwrap();
    json(&train(&["--out=good", "--set=train.epochs=1", "--seed=1"], dir));

    // Once readable, once with errors that repeat what is there.
    let quoted = serde_json::to_string(EVIL).unwrap();
    let edit = |name: &str, change: &dyn Fn(String) -> String| {
        let path = bad.join(name);
        std::fs::write(&path, change(std::fs::read_to_string(&path).unwrap())).unwrap();
    };
    edit("config.toml", &|text| {
        text.replace("name = \"proxy_anchor\"", &format!("name = {quoted}"))
            .replace("name = \"glyphs\"", &format!("name = {quoted}"))
    });
    edit("run.json", &|text| {
        let mut info: Value = serde_json::from_str(&text).unwrap();
        for key in ["role", "begun", "retort"] {
            info[key] = EVIL.into();
        }
        info["device"]["name"] = EVIL.into();
        info["plugins"][0]["loss"] = EVIL.into();
        info["plugins"][0][EVIL] = EVIL.into();
        info.to_string()
    });
    edit("metrics.jsonl", &|text| {
        text.replace("\"proxy_anchor\"", &quoted)
            .replace("\"split\":\"test\"", &format!("\"split\":{quoted}"))
    });
    edit("summary.json", &|text| text.replace("\"test\"", &quoted));

    let bad = bad.to_str().unwrap();
    let look: &[&[&str]] = &[
        &["runs", "list", "."],
        &["runs", "list", bad],
        &["runs", "show", bad],
        &["runs", "diff", bad, "good"],
        &["runs", "rm", bad],
        &["report", ".", "--device=cpu"],
        &["report", bad, "--device=cpu"],
        &["train", "resume", bad, "--device=cpu"],
        &["evaluate", bad, "--device=cpu"],
        &["train", "target", "--loss=rkd", "--source", bad, "--device=cpu", EVIL],
        &["runs", EVIL],
    ];
    for args in look {
        for json in [&[][..], &["--json"]] {
            let output = retort(&[args, json].concat(), dir);
            assert_clean(&output);
            if args[0] == "report" {
                assert!(output.status.success(), "{output:?}");
                let html = std::fs::read_to_string(dir.join("report.html")).unwrap();
                assert!(!html.contains(acts) && !html.contains("<script"), "{html}");
                assert!(html.contains("\\u{1b}[2J\\u{202e}") && html.contains("&lt;script&gt;"));
            }
        }
    }
    // Machines get what is there, exactly.
    let shown = json(&retort(&["runs", "show", bad, "--json"], dir));
    assert_eq!((&shown["role"], &shown["info"]["device"]["name"]), (&EVIL.into(), &EVIL.into()));
    let table = text(&retort(&["runs", "list", "."], dir));
    assert!(table.contains("\\u{1b}[2J\\u{202e}\\u{9b}31m\\u{200b}\\u{7}"), "{table}");
    assert_eq!(table.lines().count(), 3, "a name makes no line of its own: {table}");

    edit_config(Path::new(bad), &format!("{quoted} = 1\n"));
    for args in look {
        assert_clean(&retort(args, dir));
    }
    let list = retort(&["runs", "list", "."], dir);
    let said = String::from_utf8(list.stderr.clone()).unwrap();
    assert!(
        said.contains("config.toml, line 1: unknown field") && said.lines().count() == 1,
        "{said}"
    );
}

fn edit_config(run: &Path, text: &str) {
    std::fs::write(run.join("config.toml"), text).unwrap();
}

/// Files that no training wrote are named, and hide no other run.
#[test]
fn a_damaged_run_is_named_and_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    json(&train(&["--out=runs/good", "--set=train.epochs=1"], dir));
    json(&train(&["--out=runs/bad", "--set=train.epochs=1"], dir));
    let read = |name: &str| std::fs::read_to_string(dir.join("runs/bad").join(name)).unwrap();
    let metrics = read("metrics.jsonl");
    let first = metrics.lines().next().unwrap();
    let long = format!("{first}\n{{\"a\":\"{}\"}}\n", "x".repeat(100 << 20));
    let deep = format!("{first}\n{}\n", "[".repeat(100_000));
    let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(9 << 20));
    let word = format!("{{\"seconds\":\"{}\"}}", "x".repeat(1 << 20));
    let cases: &[(&str, &str, &str)] = &[
        ("metrics.jsonl", &long, "metrics.jsonl, line 2: it has more than 1048576 bytes"),
        ("metrics.jsonl", &deep, "metrics.jsonl, line 2: recursion limit exceeded"),
        ("metrics.jsonl", "\n{\"step\":1}\n", "metrics.jsonl, line 1: EOF"),
        ("summary.json", "[1, 2]", "it is no object"),
        ("summary.json", "\"done\"", "it is no object"),
        (
            "summary.json",
            r#"{"interrupted": "no"}"#,
            "invalid type: string \"no\", expected a boolean",
        ),
        (
            "summary.json",
            r#"{"interrupted": false, "recall": [1]}"#,
            "summary.json: invalid type: ",
        ),
        ("summary.json", r#"{"best": {"epoch": 2, "recall": {"x": 1}}}"#, "summary.json: invalid "),
        ("summary.json", &word, "x… at line 1 column "),
        ("metrics.jsonl", "{\"step\":\"1\"}\n", "metrics.jsonl, line 1: invalid type"),
        (
            "metrics.jsonl",
            "{\"mean_loss\":1,\"epoch\":1e300}\n",
            "metrics.jsonl, line 1: invalid type",
        ),
        ("run.json", r#"{"plugins": 3}"#, "run.json: invalid type"),
        ("summary.json", &huge, "and such a file may have 8388608"),
        ("run.json", "[]", "it is no object"),
        ("run.json", "{", "EOF while parsing"),
        ("run.json", &deep, "trailing characters"),
        ("config.toml", &huge, "and such a file may have 8388608"),
        ("config.toml", "recall_at = \"1\"", "config.toml, line 1"),
        ("config.toml", "[train]\nepochs = -1", "config.toml, line 2"),
    ];
    for (name, content, part) in cases {
        let kept = read(name);
        std::fs::write(dir.join("runs/bad").join(name), content).unwrap();
        let list = retort(&["runs", "list"], dir);
        assert!(text(&list).contains("good"));
        let said = String::from_utf8_lossy(&list.stderr).into_owned();
        assert!(said.contains(part) && said.len() < 1000, "{name}: {said}");
        let report = retort(&["report", "runs", "--device=cpu"], dir);
        assert_eq!(text(&report), "report.html: 1 runs\n");
        let said = String::from_utf8_lossy(&report.stderr).into_owned();
        assert!(said.contains("the report has not all runs: ") && said.contains(part), "{said}");
        for command in [["runs", "show"], ["train", "resume"]] {
            let output = retort(&[&command[..], &["runs/bad"]].concat(), dir);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(matches!(output.status.code(), Some(1 | 2)), "{said}");
            assert!(said.contains(part) && said.lines().count() == 1, "{name}: {said}");
        }
        std::fs::write(dir.join("runs/bad").join(name), kept).unwrap();
    }

    // Odd, but no reason to refuse: keys of another version, nothing at all, values that leave no room.
    std::fs::write(dir.join("runs/bad/summary.json"), r#"{"to come": [1], "loss": null}"#).unwrap();
    std::fs::write(
        dir.join("runs/bad/metrics.jsonl"),
        "{}\n{\"step\":1,\"epoch\":1,\"loss\":1e308,\"lr\":-1e308}\n\
         {\"step\":2,\"epoch\":1,\"loss\":1e308,\"lr\":1e308,\"terms\":{\"a\":null}}\n\
         {\"mean_loss\":null,\"epoch\":18446744073709551615,\"recall\":{}}\n\
         {\"mean_loss\":1,\"epoch\":1,\"recall\":{\"18446744073709551615\":1e308}}\n",
    )
    .unwrap();
    for args in [
        &["runs", "list"][..],
        &["runs", "show", "runs/bad"],
        &["runs", "diff", "runs/bad", "runs/good"],
    ] {
        text(&retort(args, dir));
    }
    text(&retort(&["report", "runs", "--device=cpu"], dir));
    let html = std::fs::read_to_string(dir.join("report.html")).unwrap();
    assert!(html.contains("<b>loss</b>") || html.contains("learning rate"), "{html}");
    drawn(&html).for_each(|s| assert!(!s.contains("NaN") && !s.contains("inf"), "{s}"));
}

/// A page's drawings, but for that which holds the pictures: their bytes spell any word.
fn drawn(html: &str) -> impl Iterator<Item = &str> {
    let all = html.split("<svg").skip(1).map(|s| s.split("</svg>").next().unwrap());
    all.filter(|s| !s.starts_with(" class=\"store\""))
}

/// Results that nobody gets are an error; a reader that has enough isn't.
#[cfg(unix)]
#[test]
fn results_that_cannot_be_written_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let run = |args: &[&str], out: std::process::Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retort"));
        command.args(args).stdout(out).current_dir(dir.path()).output().unwrap()
    };
    for args in [
        &["loss", "list"][..],
        &["loss", "list", "--json"],
        &["--help"],
        &[],
        &["completions", "bash"],
    ] {
        let output = run(args, full().into());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        let sentence = "error: can't write the results to standard output: No space left on device";
        assert!(said.starts_with(sentence) && said.lines().count() == 1, "{args:?}: {said}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(args, writer.into());
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
    }
    // The command's own error goes first.
    let output = run(&["runs", "list", "nowhere"], full().into());
    assert!(error(&output, 1).contains("nowhere"));
}

mod fuzz {
    //! Texts that are almost right. `RETORT_FUZZ_SECONDS=3600` looks for longer, `RETORT_FUZZ_SEED` elsewhere.

    use rand::RngExt as _;
    use retort_core::Limits;
    use retort_core::random::{key, stream};
    use retort_host::experiment::Experiment;
    use retort_host::experiment::bounds;
    use retort_host::plugin::registry::Registry;
    use retort_host::report;
    use retort_host::run::difference;
    use retort_host::run::folder::Run;
    use retort_host::suite::{Over, Suite, result, table};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;
    use std::time::{Duration, Instant};

    const EXPERIMENT: &str = r#"
seed = 3
source = "runs/source"
recall_at = [1, 2, 4]
select_on = "validation"
also_on = ["cpu"]
[data]
name = "glyphs"
classes = 20
size = 32
validation_classes = 0.25
cache = "1GiB"
[network]
name = "convnet"
width = 8
embedding = 64
[train]
epochs = 3
batch = 16
lr = 1e-3
schedule = "step"
precision = "mixed_f16"
[[loss]]
name = "rkd"
weight = 0.5
weight_angle = 2.0
[[loss]]
name = "pack.wasm#relaxed_contrastive"
sigma = 1
[limits]
seconds = 2.5
handles = 1000
"#;
    const SUITE: &str = r#"
title = "Tiny"
seeds = [0, 1]
base = { recall_at = [1, 4], train = { epochs = 1 } }
source = { loss = "proxy_anchor", checkpoint = "{dataset}-{seed}.pth" }
[[dataset]]
name = "glyphs"
label = "Glyphs"
target = { train.lr = 1e-3 }
[[setting]]
name = "small"
network = { width = 2 }
[[method]]
name = "sweep"
loss = { name = "relaxed_contrastive", delta = 1.0 }
grid = { sigma = "schema", train.lr = { min = 1e-4, max = 1e-2, log = true, points = 3 } }
[[method]]
name = "drawn"
transfer = false
loss = "proxy_anchor"
random = { trials = 4, seed = 1, alpha = [8, 16, 32] }
[[published]]
setting = "small"
method = "sweep"
recall = { glyphs = [12.3, 45.6] }
"#;
    const INFO: &str = r#"{"role": "target", "begun": "2026-01-01T00:00:00Z", "seed": 0,
"device": {"id": "cpu", "name": "CPU"}, "resumed": [{"at": "x", "after_step": 3}],
"plugins": [{"loss": "rkd", "digest": "sha256:00", "interface": 1}], "config": {"seed": 0}}"#;
    const SUMMARY: &str = r#"{"interrupted": false, "recall": {"1": 0.5, "2": 0.75}, "seconds": 3.5,
"best": {"epoch": 2, "recall": {"1": 0.5}, "selected_on": "test"}, "parameters": 1000}"#;
    const METRICS: &str = r#"{"epoch":1,"step":1,"loss":2.5,"terms":{"rkd":1.5,"x":1},"lr":0.001,"time":1.5}
{"epoch":1,"step":2,"loss":1.5,"terms":{"rkd":0.5,"x":1},"lr":0.001,"seconds":2}
{"epoch":1,"step":2,"mean_loss":2.0,"recall":{"1":0.25,"2":0.5},"split":"test"}
{"epoch":2,"step":4,"mean_loss":1.0,"recall":{"1":0.5,"2":0.75},"split":"test"}
"#;
    const RESULTS: &str = r#"{"title": "Tiny", "seeds": [0, 1], "missing": 0, "tables": [{"setting": "",
"columns": [{"dataset": "glyphs", "ks": [1, 2], "test": {"best": "a", "runner_up": "b", "difference": 1.5,
"p": 0.5, "seeds": 2}}], "rows": [{"name": "a", "source": false, "transfer": true, "chosen": {"sigma": 1},
"cells": [{"runs": [{"seed": 0, "run": "x", "recall": [0.5, 0.75], "seconds": 1, "parameters": 5}],
"recall": [{"mean": 50.0, "deviation": 1.5, "published": null, "best": true}, {"mean": 75.0, "deviation": null,
"published": 3.5, "best": false}]}]}], "sweeps": [{"method": "a", "datasets": ["glyphs"], "k": 1,
"trials": [[{"sigma": 1}, [50.0]]]}]}]}"#;

    /// What numbers, keys and brackets are replaced with.
    const WORDS: &[&str] = &[
        "0",
        "-1",
        "1e308",
        "-1e308",
        "1e999",
        "nan",
        "inf",
        "-inf",
        "18446744073709551615",
        "9223372036854775807",
        "-9223372036854775808",
        "4294967296",
        "1000000000000",
        "5e-324",
        "0.1",
        "1.0",
        "true",
        "null",
        "\"\"",
        "\"1\"",
        "[]",
        "{}",
        "[[]]",
        "[1, \"a\"]",
        "{ a = 1 }",
        "{\"a\":1}",
        "\n",
        "\r",
        "\0",
        "\u{1b}[2J",
        "\u{202e}",
        "é",
        "日本",
        "\u{10ffff}",
        "'",
        "\"",
        "\"\"\"",
        "#",
        "=",
        ".",
        ",",
        "[",
        "]",
        "{",
        "}",
        "[[",
        "]]",
        "loss",
        "train",
        "name",
        "seed",
        "grid",
        "random",
        "points",
        "min",
        "max",
        "trials",
        "recall",
        "step",
        "epoch",
        "mean_loss",
        "terms",
        "cells",
        "runs",
        "1979-05-27T07:32:00Z",
    ];

    /// A text with one to six slips.
    fn slip(text: &str, rng: &mut impl rand::Rng) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..rng.random_range(1..=6) {
            let at = rng.random_range(0..=bytes.len());
            let end = at + rng.random_range(0..=bytes.len() - at).min(rng.random_range(1..40));
            let word = WORDS[rng.random_range(0..WORDS.len())].as_bytes();
            match rng.random_range(0..9) {
                0 => bytes.insert(at, rng.random()),
                1 => drop(bytes.drain(at..end)),
                2 => drop(bytes.splice(at..end, word.iter().copied())),
                3 => {
                    let part = bytes[at..end].to_vec();
                    let to = rng.random_range(0..=bytes.len());
                    bytes.splice(to..to, part.repeat(rng.random_range(1..4)));
                }
                4 => {
                    let deep = word.repeat(rng.random_range(1..3000) / word.len().max(1));
                    bytes.splice(at..at, deep);
                }
                // A whole number or word is replaced, so that the text stays well-formed.
                _ => {
                    let part = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
                    let is = |i: &usize| part(bytes[*i]);
                    let Some(from) = (at..bytes.len()).find(is) else { continue };
                    let to = (from..bytes.len()).find(|i| !part(bytes[*i])).unwrap_or(bytes.len());
                    bytes.splice(from..to, word.iter().copied());
                }
            }
        }
        bytes
    }

    fn experiment(text: &str) {
        let Ok(experiment) = Experiment::parse(text, Path::new("x.toml")) else { return };
        let written = toml::to_string(&experiment);
        if let (Ok(written), Ok(())) = (&written, bounds::check(&experiment)) {
            let again = Experiment::parse(written, Path::new("x.toml")).unwrap();
            assert_eq!(again, experiment, "it is read as it was written");
        }
        let tree = serde_json::to_value(&experiment).unwrap();
        difference::flatten(&tree);
        let _ =
            Experiment::read(None, experiment, &["train.lr=2".to_owned(), "sigma=1".to_owned()]);
    }

    fn suite(text: &str, registry: &mut Registry) {
        let Ok(mut suite) = Suite::parse(text, Path::new("x.toml")) else { return };
        let over = Over::default();
        suite.narrow(&over).unwrap();
        for wanted in suite.wanted(&over, registry).unwrap_or_default().iter().take(20) {
            let _ = suite.source(wanted.dataset, wanted.setting, wanted.seed, &over);
        }
    }

    fn page(dir: &Path, device: &burn::tensor::Device) {
        let (paths, out) = (vec![dir.to_owned()], dir.with_extension("html"));
        let options =
            report::Options { paths, data_root: None, samples: 10, device: device.clone() };
        if report::write(&out, &options, &|_| ()).is_ok() {
            let html = std::fs::read_to_string(out).unwrap();
            let svg = super::drawn(&html);
            svg.for_each(|s| assert!(!s.contains("NaN") && !s.contains("=\"inf"), "{s}"));
        }
    }

    fn run(dir: &Path, device: &burn::tensor::Device) {
        if let Ok(run) = Run::open(dir) {
            let json = serde_json::json!(run.summary);
            difference::differing(&serde_json::json!(run.info), &json);
            let _ = (run.best(), run.role(), run.losses(), run.course.recalls());
        }
        page(dir, device);
    }

    fn results(dir: &Path, device: &burn::tensor::Device) {
        if let Ok(results) = result::read(dir) {
            for (format, _) in table::Format::FILES {
                table::write(&results, format);
            }
        }
        page(dir, device);
    }

    #[test]
    fn texts_that_are_almost_right_never_end_in_a_panic() {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let seconds = number("RETORT_FUZZ_SECONDS").unwrap_or(8);
        let seed = number("RETORT_FUZZ_SEED").unwrap_or(0);
        let dir = tempfile::tempdir().unwrap();
        let (run_dir, suite_dir) = (dir.path().join("run"), dir.path().join("suite"));
        std::fs::create_dir(&run_dir).unwrap();
        std::fs::create_dir(&suite_dir).unwrap();
        let mut registry = Registry::new(Limits::default()).unwrap();
        let (device, _) = retort_core::device::resolve("cpu".parse().unwrap()).unwrap();
        let files = [
            ("config.toml", EXPERIMENT),
            ("run.json", INFO),
            ("summary.json", SUMMARY),
            ("metrics.jsonl", METRICS),
        ];
        for (name, text) in files {
            std::fs::write(run_dir.join(name), text).unwrap();
        }
        let (begun, mut executions) = (Instant::now(), [0_u64; 7]);
        while begun.elapsed() < Duration::from_secs(seconds) {
            let total: u64 = executions.iter().sum();
            let target = (total % 7) as usize;
            let mut rng = stream(key(seed, "fuzz"), &[total]);
            let base = match target {
                0 => EXPERIMENT,
                1 => SUITE,
                2 => RESULTS,
                n => files[n - 3].1,
            };
            let bytes = slip(base, &mut rng);
            let text = String::from_utf8_lossy(&bytes);
            let since = Instant::now();
            let done = catch_unwind(AssertUnwindSafe(|| match target {
                0 => experiment(&text),
                1 => suite(&text, &mut registry),
                2 => {
                    std::fs::write(suite_dir.join("results.json"), &bytes).unwrap();
                    results(&suite_dir, &device);
                }
                n => {
                    std::fs::write(run_dir.join(files[n - 3].0), &bytes).unwrap();
                    run(&run_dir, &device);
                    std::fs::write(run_dir.join(files[n - 3].0), files[n - 3].1).unwrap();
                }
            }));
            executions[target] += 1;
            let took = since.elapsed();
            let input = || format!("seed {seed}, execution {total}, target {target}: {text:?}");
            if let Err(panic) = done {
                let why = panic.downcast_ref::<String>().cloned();
                let why = why.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                std::panic::panic_any(format!("{}: {}", why.unwrap_or_default(), input()));
            }
            assert!(took < Duration::from_secs(5), "it took {took:?}: {}", input());
        }
        println!("executions by target: {executions:?}");
        assert!(executions.iter().all(|n| *n > 3), "{executions:?}");
    }
}
