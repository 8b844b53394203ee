//! Suites as a user types them, on tiny settings.

use crate::program::on_cpu as retort;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const SUITE: &str = r#"
title = "Tiny"
seeds = [0, 1]
[base]
recall_at = [1, 4]
data = { classes = 16, images = 6 }
train = { batch = 16, images_per_class = 4, epochs = 1 }
[source]
loss = "proxy_anchor"
network = { width = 4, embedding = 8 }
[target]
network = { width = 2, embedding = 4 }
[[dataset]]
name = "glyphs"
[[method]]
name = "no transfer"
transfer = false
loss = "proxy_anchor"
[[method]]
name = "RKD"
loss = "rkd"
[[published]]
method = "RKD"
recall = { glyphs = [12.3, 45.6] }
"#;

fn compare(more: &[&str], dir: &Path) -> Output {
    retort(&[&["compare", "suite.toml", "--out=suite"], more].concat(), dir)
}

fn scratch(suite: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("suite.toml"), suite).unwrap();
    dir
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

/// The numbers of a suite, without times and paths.
fn numbers(results: &Value) -> Vec<String> {
    let rows = results["tables"][0]["rows"].as_array().unwrap();
    rows.iter().map(|r| format!("{} {}", r["name"], r["cells"][0]["recall"])).collect()
}

#[test]
fn a_suite_trains_prints_its_table_and_does_nothing_twice() {
    let dir = scratch(SUITE);
    let path = dir.path();
    let dry = stdout(&compare(&["--dry-run"], path));
    assert_eq!(dry.lines().filter(|l| l.starts_with("to do")).count(), 6, "{dry}");
    assert!(!path.join("suite").exists());

    let results = json(&compare(&["--json", "--jobs=2"], path));
    assert_eq!(results["missing"], 0);
    let rows = results["tables"][0]["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["source", "no transfer", "RKD"]);
    // Means and deviations are those of the runs themselves.
    let cell = &rows[2]["cells"][0];
    let runs: Vec<f64> = (0..2)
        .map(|i| {
            let run = Path::new(cell["runs"][i]["run"].as_str().unwrap());
            let text = std::fs::read_to_string(run.join("summary.json")).unwrap();
            let summary: Value = serde_json::from_str(&text).unwrap();
            100.0 * summary["recall"]["1"].as_f64().unwrap()
        })
        .collect();
    let mean = f64::midpoint(runs[0], runs[1]);
    let deviation = ((runs[0] - mean).powi(2) + (runs[1] - mean).powi(2)).sqrt();
    let near = |found: &Value, wanted: f64| (found.as_f64().unwrap() - wanted).abs() < 1e-9;
    assert!(near(&cell["recall"][0]["mean"], mean), "{cell}");
    assert!(near(&cell["recall"][0]["deviation"], deviation), "{cell}");
    assert_eq!(cell["recall"][1]["published"], 45.6);

    // Again: nothing is left to do, and the tables are in every format.
    let again = compare(&[], path);
    assert!(stderr(&again).contains("6 trainings, 6 done already"), "{}", stderr(&again));
    assert!(!stderr(&again).contains("[1/"), "{}", stderr(&again));
    let text = stdout(&again);
    assert!(text.contains("[12.3]") && text.contains("paired t-test"), "{text}");
    assert!(!text.contains('\x1b'), "colours are for terminals");
    let file = |name: &str| std::fs::read_to_string(path.join("suite").join(name)).unwrap();
    assert!(file("table.md").contains("| METHOD | R@1 | R@4 |"));
    assert!(file("table.tex").contains("\\multicolumn{2}{c}{glyphs}"));
    assert_eq!(file("table.csv").lines().count(), 1 + 3 * 2 * 2);

    // A changed method is trained again, and nothing else.
    let changed = SUITE.replace("\"rkd\"", "{ name = \"rkd\", weight_angle = 1.0 }");
    std::fs::write(path.join("suite.toml"), changed).unwrap();
    let dry = stdout(&compare(&["--dry-run"], path));
    let left: Vec<&str> = dry.lines().filter(|l| l.starts_with("to do")).collect();
    assert!(left.len() == 2 && left.iter().all(|l| l.contains("RKD")), "{dry}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_suite_goes_on_and_gives_the_same_table() {
    let whole = scratch(SUITE);
    let wanted = numbers(&json(&compare(&["--json"], whole.path())));

    let dir = scratch(SUITE);
    let mut command = Command::new(env!("CARGO_BIN_EXE_retort"));
    command.args(["compare", "suite.toml", "--out=suite", "--device=cpu"]).current_dir(dir.path());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // In the middle: a source is there, and targets aren't.
    let done = || {
        let runs = std::fs::read_dir(dir.path().join("suite/runs")).into_iter().flatten();
        runs.filter(|r| r.as_ref().unwrap().path().join("summary.json").exists()).count()
    };
    while done() < 1 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before its first training");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let before = done();
    assert!(before < 6, "it was done before it was stopped");

    let resumed = compare(&["--json"], dir.path());
    assert!(stderr(&resumed).contains(" done already"), "{}", stderr(&resumed));
    assert_eq!(numbers(&json(&resumed)), wanted);
}

#[test]
fn a_training_that_fails_ends_no_other() {
    let dir = scratch(&SUITE.replace("loss = \"rkd\"", "loss = \"rkd\"\ntrain = { lr = 1e30 }"));
    let output = compare(&["--seeds=0"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("RKD on glyphs, seed 0: ") && text.contains("failed"), "{text}");
    assert!(text.contains("no transfer on glyphs, seed 0: Recall@1"), "{text}");
    let results = std::fs::read_to_string(dir.path().join("suite/results.json")).unwrap();
    let results: Value = serde_json::from_str(&results).unwrap();
    assert_eq!(results["missing"], 1);
    assert!(results["tables"][0]["rows"][1]["cells"][0]["recall"][0]["mean"].is_number());
}

#[test]
fn sweeps_try_grids_lists_and_ranges_of_the_schema() {
    let sweep =
        "loss = \"relaxed_contrastive\"\ngrid = { sigma = \"schema\", train.lr = [1e-3, 2e-3] }";
    let dir = scratch(&SUITE.replace("loss = \"rkd\"", sweep));
    let plan = |dir: &Path| -> Vec<String> {
        let dry = json(&compare(&["--dry-run", "--json", "--seeds=0"], dir));
        let all = dry["trainings"].as_array().unwrap().iter();
        let names = all.map(|t| t["training"].as_str().unwrap().to_owned());
        names.filter(|n| n.starts_with("RKD")).collect()
    };
    let grid = plan(dir.path());
    assert_eq!(grid.len(), 10, "{grid:?}");
    for (sigma, lr) in [("0.25", "0.001"), ("4.0", "0.002"), ("1.0", "0.002")] {
        let wanted = format!("sigma = {sigma}, train.lr = {lr}, ");
        assert!(grid.iter().any(|n| n.contains(&wanted)), "{wanted} in {grid:?}");
    }

    // More trials leave those drawn before as they were; all are in their range.
    let random = |trials: usize| {
        let sweep = format!(
            "loss = \"relaxed_contrastive\"\nrandom = {{ trials = {trials}, seed = 3, \
             sigma = {{ min = 0.5, max = 2.0, log = true }} }}"
        );
        let dir = scratch(&SUITE.replace("loss = \"rkd\"", &sweep));
        plan(dir.path())
    };
    let (few, many) = (random(3), random(5));
    assert!(few.len() == 3 && many.len() == 5 && many[..3] == few[..], "{few:?} {many:?}");
    for name in &many {
        let sigma = name.split("sigma = ").nth(1).unwrap().split(',').next().unwrap();
        let sigma: f64 = sigma.parse().unwrap();
        assert!((0.5..=2.0).contains(&sigma), "{name}");
    }

    // The table shows the best trial, and the sweep has its own.
    let sweep = "loss = \"rkd\"\ngrid = { train.lr = [1e-3, 1e-2] }";
    let dir = scratch(&SUITE.replace("loss = \"rkd\"", sweep));
    let text = stdout(&compare(&["--seeds=0", "--only=RKD"], dir.path()));
    assert!(text.contains("RKD (train.lr = ") && text.contains("RKD: TRIAL"), "{text}");
}

/// The two-sided p of Student's paired t-test over three pairs, whose t has a closed form.
fn p_of_three(a: &[f64], b: &[f64]) -> f64 {
    let d: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let mean = d.iter().sum::<f64>() / 3.0;
    let variance = d.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 2.0;
    let t = mean / (variance / 3.0).sqrt();
    1.0 - t.abs() / (t * t + 2.0).sqrt()
}

/// A random trial that is drawn again is no further seed: in every table the numbers are those of three runs.
#[test]
fn a_trial_drawn_twice_counts_once() {
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/cases/sweep3.toml");
    let dir = scratch(&std::fs::read_to_string(cases).unwrap());
    let dry = compare(&["--dry-run"], dir.path());
    // Two values of six draws: 3 sources, 2 x 3 targets and 3 of RKD.
    assert_eq!(stdout(&dry).lines().filter(|l| l.starts_with("to do")).count(), 12);
    let said = "RC random: of the 6 trials that its sweep asks for, there are 2 different ones";
    assert!(stderr(&dry).contains(said), "{}", stderr(&dry));

    let results = json(&compare(&["--json", "--jobs=2"], dir.path()));
    let table = &results["tables"][0];
    let row = |name: &str| {
        let rows = table["rows"].as_array().unwrap();
        rows.iter().find(|r| r["name"] == name).unwrap()["cells"][0].clone()
    };
    let recalls = |name: &str| -> Vec<f64> {
        let runs = row(name)["runs"].as_array().unwrap().clone();
        assert_eq!(runs.iter().map(|r| r["seed"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
        let recall = |run: &Value| {
            let path = Path::new(run["run"].as_str().unwrap()).join("summary.json");
            let summary: Value =
                serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            100.0 * summary["recall"]["1"].as_f64().unwrap()
        };
        runs.iter().map(recall).collect()
    };
    let (random, rkd) = (recalls("RC random"), recalls("RKD"));
    let mean = random.iter().sum::<f64>() / 3.0;
    let deviation = (random.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    let near = |found: &Value, wanted: f64| (found.as_f64().unwrap() - wanted).abs() < 1e-9;
    let found = &row("RC random")["recall"][0];
    assert!(near(&found["mean"], mean) && near(&found["deviation"], deviation), "{found}");
    let test = &table["columns"][0]["test"];
    assert_eq!(test["seeds"], 3);
    let p = p_of_three(&random, &rkd);
    assert!(near(&test["p"], p), "{test}, not {p}");
    let sweep = &table["sweeps"][0];
    assert_eq!((&sweep["asked"], sweep["trials"].as_array().unwrap().len()), (&6.into(), 2));

    let file = |name: &str| std::fs::read_to_string(dir.path().join("suite").join(name)).unwrap();
    stdout(&retort(&["report", "suite", "--out=suite/report.html"], dir.path()));
    let (number, tested) = (format!("{mean:.1} ± {deviation:.1}"), format!("p = {p:.3}, 3 seeds"));
    for name in ["table.txt", "table.md", "report.html"] {
        let text = file(name).replace("<span class=\"sd\">", "");
        assert!(text.contains(&number) && text.contains(&tested), "{name}: {number}, {tested}");
        assert!(text.contains(said), "{name}");
    }
    let csv = file("table.csv");
    let lines = csv.lines().filter(|l| l.contains(",RC random,") && l.contains(",1,"));
    let of_k: Vec<&str> = lines.filter(|l| l.split(',').nth(4) == Some("1")).collect();
    assert_eq!(of_k.len(), 3, "{csv}");
}

/// However a value is written, the same experiment is the same trial; and a range of whole numbers has no
/// more trials than numbers.
#[test]
fn trials_are_distinct() {
    let plan = |method: &str| -> Vec<String> {
        let dir = scratch(&SUITE.replace("loss = \"rkd\"", method));
        let dry = json(&compare(&["--dry-run", "--json", "--seeds=0"], dir.path()));
        let all = dry["trainings"].as_array().unwrap().iter();
        let names = all.map(|t| t["training"].as_str().unwrap().to_owned());
        names.filter(|n| n.starts_with("RKD")).collect()
    };
    for (method, trials) in [
        ("loss = \"rkd\"\ngrid = { weight_angle = [1, 1.0, 2, 2.0] }", 2),
        ("loss = \"rkd\"\ngrid = { train.lr = [1e-3, 0.001, 2e-3] }", 2),
        ("loss = \"rkd\"\nrandom = { trials = 9, weight_angle = [1, 1.0, 2] }", 2),
        ("loss = \"crd\"\nrandom = { trials = 50, dim = { min = 4, max = 8 } }", 5),
        ("loss = \"rkd\"\nrandom = { trials = 40, weight_angle = { min = 1, max = 2 } }", 40),
    ] {
        let found = plan(method);
        assert_eq!(found.len(), trials, "{method}: {found:?}");
    }
}

/// A loss on the command line is one more row; what the suite's folder has stays as it is.
#[test]
fn a_loss_joins_an_existing_table() {
    let dir = scratch(SUITE);
    let before = json(&compare(&["--json", "--seeds=0"], dir.path()));
    let runs = || {
        let runs = std::fs::read_dir(dir.path().join("suite/runs")).unwrap();
        let times = runs.map(|r| {
            let path = r.unwrap().path();
            let summary = path.join("summary.json").metadata().unwrap().modified().unwrap();
            (path.file_name().unwrap().to_string_lossy().into_owned(), summary)
        });
        times.collect::<std::collections::BTreeMap<_, _>>()
    };
    let trained = runs();
    let more = ["--json", "--seeds=0", "--loss=pkt", "--loss=triplet"];
    let after = json(&compare(&more, dir.path()));
    let rows = after["tables"][0]["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["source", "no transfer", "RKD", "pkt", "triplet"]);
    // The new one is trained with the suite's source where it learns from one.
    let transfer: Vec<bool> = rows.iter().map(|r| r["transfer"].as_bool().unwrap()).collect();
    assert_eq!(transfer, [false, false, true, true, false]);
    let old = before["tables"][0]["rows"].as_array().unwrap();
    for (old, new) in old.iter().zip(rows) {
        let values = |row: &Value| row["cells"][0]["runs"].clone();
        assert_eq!(values(old), values(new));
    }
    let now = runs();
    assert_eq!(now.len(), trained.len() + 2);
    assert!(trained.iter().all(|(name, time)| now[name] == *time), "nothing is trained again");
    let wrong = compare(&["--loss=pkd"], dir.path());
    assert!(stderr(&wrong).contains("did you mean"), "{}", stderr(&wrong));
    let twice = compare(&["--loss=pkt", "--loss=pkt"], dir.path());
    assert!(stderr(&twice).contains("a method of that name already"), "{}", stderr(&twice));
}

#[test]
fn wrong_suites_get_one_sentence_and_a_way_out() {
    let cases: &[(&str, &str, &str)] = &[
        ("seeds = [0, 1]", "seeds = []", "at least one entry in seeds"),
        ("seeds = [0, 1]", "seeds = [1, 1]", "\"1\" is there twice"),
        ("title =", "titel =", "did you mean `title`?"),
        ("epochs = 1", "epoch = 1", "did you mean `epochs`?"),
        ("\"rkd\"", "\"rdk\"", "did you mean rkd?"),
        ("\"rkd\"", "{ name = \"rkd\", weight_angel = 1.0 }", "did you mean weight_angle?"),
        ("name = \"glyphs\"", "name = \"glyfs\"", "did you mean glyphs?"),
        ("method = \"RKD\"", "method = \"RDK\"", "did you mean \"RKD\"?"),
        ("loss = \"rkd\"", "loss = \"rkd\"\ngrid = { sigm = \"schema\" }", "sigm"),
        ("loss = \"rkd\"", "loss = \"rkd\"\nrandom = { seed = 1 }", "needs `trials`"),
        ("[source]\nloss = \"proxy_anchor\"", "[source]", "[source] has no `loss`"),
        ("[source]\n", "[source]\ncheckpoint = \"nowhere/{seed}\"\n", "nowhere/0"),
    ];
    for (from, to, part) in cases {
        assert!(SUITE.contains(from), "{from}");
        // Published numbers are for names of the suite; a data set of another name has none.
        let suite = SUITE.replacen(from, to, 1);
        let dir = scratch(&suite.replace(
            "recall = { glyphs",
            if to.contains("glyfs") { "recall = { glyfs" } else { "recall = { glyphs" },
        ));
        let output = compare(&[], dir.path());
        let text = stderr(&output);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{to}: {text}");
        assert!(text.contains(part), "{to}: {text}");
        assert!(!dir.path().join("suite").exists(), "{to} left a folder");
    }
    let dir = scratch(SUITE);
    std::fs::create_dir(dir.path().join("suite")).unwrap();
    std::fs::write(dir.path().join("suite/thesis.txt"), "mine").unwrap();
    let output = compare(&[], dir.path());
    assert!(stderr(&output).contains("no suite's folder"), "{}", stderr(&output));
}

/// `--on slurm` against stand-ins for `sbatch` and `squeue` that run the array at once; against a real
/// Slurm it was tried by hand.
#[cfg(unix)]
#[test]
fn a_suite_goes_to_slurm_as_job_arrays() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = scratch(SUITE);
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let sbatch = "#!/bin/sh\nfor script; do :; done\necho \"$@\" >> submitted\n\
                  last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' \"$script\")\n\
                  for task in $(seq 0 $last); do SLURM_ARRAY_TASK_ID=$task sh \"$script\"; done\necho '4711;cluster'\n";
    let squeue = "#!/bin/sh\necho 'slurm_load_jobs error: Invalid job id specified' >&2\nexit 1\n";
    for (name, text) in [("sbatch", sbatch), ("squeue", squeue)] {
        std::fs::write(bin.join(name), text).unwrap();
        std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let slurm = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retort"));
        command.args(["compare", "suite.toml", "--out=suite", "--device=cpu", "--on=slurm"]);
        command.args(args).env("PATH", &path).current_dir(dir.path()).output().unwrap()
    };
    let on_slurm = json(&slurm(&["--json", "--sbatch=--partition=gpu"]));
    let submitted = std::fs::read_to_string(dir.path().join("submitted")).unwrap();
    // Sources first: the targets' digests need them.
    assert_eq!(submitted.lines().count(), 2, "{submitted}");
    assert!(submitted.lines().all(|l| l.contains("--partition=gpu")), "{submitted}");
    let script = std::fs::read_to_string(dir.path().join("suite/slurm-0.sh")).unwrap();
    assert!(script.contains("#SBATCH --array=0-3%1"), "{script}");

    let here = scratch(SUITE);
    assert_eq!(numbers(&on_slurm), numbers(&json(&compare(&["--json"], here.path()))));
    slurm(&[]);
    let again = std::fs::read_to_string(dir.path().join("submitted")).unwrap();
    assert_eq!(again, submitted, "nothing was left to submit");

    let nothing = Command::new(env!("CARGO_BIN_EXE_retort"))
        .args(["compare", "suite.toml", "--out=other", "--device=cpu", "--on=slurm"])
        .env("PATH", "/nowhere")
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(stderr(&nothing).contains("needs Slurm's commands"), "{}", stderr(&nothing));
}

#[test]
fn settings_are_tables_data_sets_are_columns_and_sources_are_shared() {
    let more = "[[dataset]]\nname = \"others\"\nlabel = \"Others & more\"\ndata = { name = \"glyphs\", seed = 1 }\n\
                [[setting]]\nname = \"small\"\n[[setting]]\nname = \"large\"\nnetwork = { embedding = 8 }\n";
    let suite = SUITE.replace("[[method]]\nname = \"no", &format!("{more}[[method]]\nname = \"no"));
    let suite =
        suite.replace("method = \"RKD\"\nrecall", "method = \"RKD\"\nsetting = \"large\"\nrecall");
    let dir = scratch(&suite);
    let results = json(&compare(&["--json", "--seeds=0", "--jobs=2"], dir.path()));
    let runs = std::fs::read_dir(dir.path().join("suite/runs")).unwrap();
    let names: Vec<String> =
        runs.map(|r| r.unwrap().file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(names.len(), 2 + 2 * 2 * 2, "{names:?}");
    assert_eq!(names.iter().filter(|n| n.starts_with("source-")).count(), 2, "{names:?}");

    let tables = results["tables"].as_array().unwrap();
    let settings: Vec<&Value> = tables.iter().map(|t| &t["setting"]).collect();
    assert_eq!(settings, ["small", "large"]);
    assert_eq!(tables[0]["rows"][0], tables[1]["rows"][0], "the source is the same");
    assert_ne!(tables[0]["rows"][2]["cells"], tables[1]["rows"][2]["cells"]);
    let published = |t: &Value| t["rows"][2]["cells"][0]["recall"][0]["published"].clone();
    assert_eq!((published(&tables[0]), published(&tables[1])), (Value::Null, 12.3.into()));
    let tex = std::fs::read_to_string(dir.path().join("suite/table.tex")).unwrap();
    assert_eq!(tex.matches("\\multicolumn{2}{c}{Others \\& more}").count(), 2, "{tex}");
    let markdown = std::fs::read_to_string(dir.path().join("suite/table.md")).unwrap();
    assert!(markdown.contains("### large") && markdown.contains("| glyphs R@1 |"), "{markdown}");
}

/// A suite that is killed at random moments, with or without its trainings, gives the same table in the end.
#[cfg(unix)]
#[test]
fn a_suite_that_is_killed_gives_the_same_table() {
    use std::time::{Duration, Instant};
    let whole = scratch(SUITE);
    let begun = Instant::now();
    let wanted = numbers(&json(&compare(&["--json", "--seeds=0"], whole.path())));
    let took = begun.elapsed();

    let dir = scratch(SUITE);
    let command = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retort"));
        command.args([
            "compare",
            "suite.toml",
            "--out=suite",
            "--device=cpu",
            "--seeds=0",
            "--json",
        ]);
        command.current_dir(dir.path()).stdin(Stdio::null());
        command
    };
    // While a training that lost its suite still works, no other suite begins there.
    let result = || loop {
        let output = command().output().unwrap();
        if !stderr(&output).contains("still works in") {
            break output;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let mut random = 7_u64;
    for _ in 0..8 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        let mut child = command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(took.mul_f64(0.6 * (random >> 33) as f64 / f64::from(1_u32 << 31)));
        child.kill().unwrap();
        child.wait().unwrap();
        for name in ["results.json", "slurm.json"] {
            if let Ok(text) = std::fs::read_to_string(dir.path().join("suite").join(name)) {
                serde_json::from_str::<Value>(&text).unwrap();
            }
        }
    }
    assert_eq!(numbers(&json(&result())), wanted);
    let file = |dir: &tempfile::TempDir, name: &str| {
        std::fs::read_to_string(dir.path().join("suite").join(name)).unwrap()
    };
    for name in ["table.txt", "table.md", "table.tex"] {
        assert_eq!(file(&dir, name), file(&whole, name), "{name}");
    }
}

/// Names stay names in every table, whatever is in them.
#[test]
fn names_of_a_suite_command_nothing() {
    const EVIL: &str = "=cmd|'/c x'!A1\x1b[2J\u{202e}\n| a | \\input{x} <script>x</script>";
    let quoted = serde_json::to_string(EVIL).unwrap();
    let suite = SUITE
        .replace("\"no transfer\"", &quoted)
        .replace("\"Tiny\"", &quoted)
        .replace("name = \"glyphs\"\n", &format!("name = \"glyphs\"\nlabel = {quoted}\n"))
        .replace(
            "name = \"RKD\"\nloss = \"rkd\"",
            &format!(
                "name = {}\ntransfer = false\nloss = \"triplet\"",
                quoted.replace("=cmd", "@x")
            ),
        )
        .replace("method = \"RKD\"", &format!("method = {}", quoted.replace("=cmd", "@x")));
    let dir = scratch(&suite);
    let clean = |text: &str| assert!(!text.contains(['\x1b', '\u{202e}']), "{text:?}");
    for more in [&["--dry-run"][..], &["--dry-run", "--json"], &[], &["--json"], &["--format=csv"]]
    {
        let output = compare(&[&["--seeds=0"], more].concat(), dir.path());
        clean(&stdout(&output));
        clean(&stderr(&output));
    }
    let results = json(&compare(&["--seeds=0", "--json"], dir.path()));
    assert_eq!(results["title"], EVIL);
    let file = |name: &str| std::fs::read_to_string(dir.path().join("suite").join(name)).unwrap();
    for name in ["table.txt", "table.md", "table.tex", "table.csv", "results.json"] {
        clean(&file(name));
    }
    let csv = file("table.csv");
    assert!(csv.lines().skip(1).all(|l| l.contains("\"'=cmd") || l.contains("\"'@x")), "{csv}");
    assert_eq!(csv.lines().count(), 1 + 2 * 2, "{csv}");
    let markdown = file("table.md");
    assert!(!markdown.contains("<script") || markdown.contains("\\<script"), "{markdown}");
    let rows = markdown.lines().filter(|l| l.starts_with('|')).count();
    assert_eq!(rows, 4, "{markdown}");
    let tex = file("table.tex");
    assert!(tex.lines().all(|l| l.starts_with("% ") || !l.contains("\\input{")), "{tex}");
    let report = retort(&["report", "suite"], dir.path());
    clean(&stdout(&report));
    let html = std::fs::read_to_string(dir.path().join("report.html")).unwrap();
    clean(&html);
    assert!(!html.contains("<script") && html.contains("&lt;script&gt;"));
}
