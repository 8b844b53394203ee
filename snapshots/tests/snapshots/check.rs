//! `retort loss check` and `retort snapshot`: green for every loss, red for every fault.

use retort_core::Limits;
use retort_host::loss::check::{Property, Status, Subject, check, to_json};
use retort_host::loss::pin;
use retort_host::plugin::registry::Registry;
use retort_snapshots::{handmade, load_paths, losses, retort, workspace};
use serde_json::{Map, Value};
use std::path::Path;
use std::process::{Command, Output};

fn run(dir: &Path, args: &[&str]) -> Output {
    Command::new(retort()).arg("--device=cpu").args(args).current_dir(dir).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Every loss has every property on every load path, or its doc says why not.
#[test]
fn every_loss_passes() {
    let mut registry = Registry::new(Limits::default()).unwrap();
    let mut subjects = Vec::new();
    for loss in losses() {
        let found = registry.find(&loss).unwrap();
        let forms =
            load_paths("plugins", &loss).into_iter().filter(|(path, _)| *path != "built in");
        let others = forms.map(|(_, name)| registry.find(&name).unwrap()).collect();
        let pin = pin::builtin(&loss).map(|text| ("its snapshot".to_owned(), text.to_owned()));
        let hyper = found.resolve(&Map::new()).unwrap();
        subjects.push(Subject::new(found, hyper, Limits::default()).against(others, pin));
    }
    let exempt = ["crd_batch one class", "n_pair order"];
    for (subject, verdicts) in subjects.iter().zip(check(&subjects, |_, _| ())) {
        let loss = &subject.found.definition.name;
        let names: Vec<&str> = verdicts.iter().map(|v| v.property.name()).collect();
        assert_eq!(names, Property::ALL.map(Property::name), "{loss}");
        for verdict in &verdicts {
            let known = exempt.contains(&format!("{loss} {}", verdict.property).as_str());
            let wanted = if known { Status::Exempt } else { Status::Holds };
            assert_eq!(verdict.status, wanted, "{loss}: {:#}", to_json(&verdicts));
        }
    }
}

/// The properties that fail, by `--json`.
fn failing(dir: &Path, name: &str, more: &[&str]) -> Vec<String> {
    let output = run(dir, &[&["loss", "check", name, "--json"], more].concat());
    let result: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(output.status.success(), result["ok"] == true, "{result}");
    let verdicts = result["verdicts"].as_array().unwrap();
    let failed = verdicts.iter().filter(|v| v["verdict"] == "fails");
    failed.map(|v| v["property"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_fault_is_found() {
    let dir = tempfile::tempdir().unwrap();
    for (loss, faults) in [
        ("good", &[][..]),
        ("bank", &[]),
        ("follow", &[]),
        ("views", &[]),
        ("anchors", &[]),
        ("stopped", &[]),
        // What it detaches may be meant; the verdict says that the value has another slope.
        ("lying", &[]),
        ("ordered", &["order"]),
        ("remembering", &["gradient", "determinism", "load path"]),
        ("bare_root", &["gradient"]),
        ("silent", &["one class"]),
        ("looping", &["scaling"]),
        ("late", &["parameters"]),
    ] {
        let mut paths = load_paths("snapshots/hostile", loss);
        let ((_, name), (_, native)) = (paths.pop().unwrap(), paths.pop().unwrap());
        let library = native.split('#').next().unwrap();
        let found = failing(dir.path(), &name, &["--with", library]);
        for fault in faults {
            assert!(found.iter().any(|f| f == fault), "{loss} should fail {fault}: {found:?}");
        }
        assert_eq!(found.is_empty(), faults.is_empty(), "{loss}: {found:?}");
    }
    // One that doesn't run at all is said to fail that, and nothing else is tried.
    for loss in ["huge", "vector"] {
        let (_, name) = load_paths("snapshots/hostile", loss).pop().unwrap();
        assert_eq!(failing(dir.path(), &name, &["--limit=seconds=5"]), ["runs"], "{loss}");
    }
}

#[test]
fn a_failure_comes_with_its_smallest_input() {
    let dir = tempfile::tempdir().unwrap();
    let (_, name) = load_paths("snapshots/hostile", "bare_root").pop().unwrap();
    let args = ["loss", "check", &name, "--save", "found", "--html", "card.html"];
    let output = run(dir.path(), &args);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("error: bare_root fails: gradient, "),
        "{}",
        stderr(&output)
    );
    let text = stdout(&output);
    assert!(text.contains("the gradient of target holds NaN"), "{text}");
    assert!(text.contains("\nduplicates\n  smallest input: target [["), "{text}");
    assert!(text.contains("\n  Distances of 0 have no slope: take `pairwise_distance`"), "{text}");
    let saved = "found/bare_root.duplicates.safetensors";
    let gradients = ["--grad", "grad.safetensors", "--json"];
    let again = [&["loss", "eval", &name, "--input", saved][..], &gradients[..]].concat();
    assert!(run(dir.path(), &again).status.success());
    let gradients = retort_snapshots::tensors(&dir.path().join("grad.safetensors"));
    assert!(gradients["target"].iter::<f64>().any(f64::is_nan), "the saved batch shows it");
    let card = std::fs::read_to_string(dir.path().join("card.html")).unwrap();
    for part in ["<h1 class=\"code\">bare_root</h1>", "fails", "polyline", "impl Loss for BareRoot"]
    {
        assert!(card.contains(part), "{part}");
    }
    assert!(!card.contains("://"), "the card needs no network");
}

/// A library that is broken says so when it is loaded: from a component, nobody loads it.
#[test]
fn native_libraries_that_nobody_named_stay_unloaded() {
    let dir = tempfile::tempdir().unwrap();
    let mut paths = load_paths("snapshots/hostile", "good");
    let ((_, wasm), (_, native)) = (paths.pop().unwrap(), paths.pop().unwrap());
    for (file, to) in [(&wasm, "pack.wasm"), (&wasm, "same.wasm"), (&native, "libpack.so")] {
        std::fs::copy(file.split('#').next().unwrap(), dir.path().join(to)).unwrap();
    }
    let verdict = |more: &[&str]| {
        let output =
            run(dir.path(), &[&["loss", "check", "pack.wasm#good", "--json"], more].concat());
        let result: Value = serde_json::from_str(&stdout(&output)).unwrap();
        let verdicts = result["verdicts"].as_array().unwrap();
        let load_path = verdicts.iter().find(|v| v["property"] == "load path").unwrap();
        load_path["detail"].as_str().unwrap().to_owned()
    };
    assert!(verdict(&[]).starts_with("wasm, wasm: "), "a component beside it");
    let named = verdict(&["--with", "libpack.so"]);
    assert!(named.starts_with("wasm, native, wasm: "), "{named}");
    std::fs::remove_file(dir.path().join("same.wasm")).unwrap();
    assert!(verdict(&[]).contains("--with FILE names one"), "the library beside it is none");

    let origins = |args: &[&str]| {
        let output = run(dir.path(), &[&["plugin", "list", "--json"], args].concat());
        let result: Value = serde_json::from_str(&stdout(&output)).unwrap();
        let packs = result["packs"].as_array().unwrap();
        let origins = packs.iter().map(|p| p["origin"].as_str().unwrap().to_owned());
        (origins.collect::<Vec<_>>().join(", "), stderr(&output))
    };
    let (listed, said) = origins(&["."]);
    assert_eq!(listed, "built in, wasm");
    assert!(said.contains("1 native library isn't loaded: --native would run"), "{said}");
    assert_eq!(origins(&[".", "--native"]).0, "built in, native, wasm");
    assert_eq!(origins(&["libpack.so"]).0, "built in, native", "it is named");
}

/// What a pack calls its losses never becomes a path.
#[test]
fn names_never_leave_the_folder_that_was_named() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("a/b/c");
    std::fs::create_dir_all(&inner).unwrap();
    for name in ["../../x", "/tmp/x", "..", "x/y", "x\0y", ""] {
        let description = handmade::description(name, &serde_json::json!([]));
        let file = inner.join("pack.wasm");
        std::fs::write(&file, handmade::component(&description, "")).unwrap();
        for args in [
            &["snapshot", "record", "pack.wasm", "--out", "out"][..],
            &["loss", "check", "pack.wasm", "--save", "out", "--html", "card.html"],
            &["loss", "list", "pack.wasm"],
            &["train", "source", "--loss", "pack.wasm", "--out", "run"],
        ] {
            let output = run(&inner, args);
            let message = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{args:?}: {message}");
            let part = format!("pack.wasm isn't a retort plugin: loss {name:?}: a name is a small");
            assert!(message.contains(&part), "{args:?}: {message}");
        }
        let files = |dir: &Path| std::fs::read_dir(dir).unwrap().count();
        assert_eq!((files(dir.path()), files(&inner)), (1, 1), "{name:?} left something");
        std::fs::remove_file(&file).unwrap();
    }
}

/// The verdict on a property, by `--json`.
fn verdict(dir: &Path, name: &str, property: &str) -> Value {
    let output = run(dir, &["loss", "check", name, "--json"]);
    let result: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let verdicts = result["verdicts"].as_array().unwrap();
    verdicts.iter().find(|v| v["property"] == property).unwrap().clone()
}

/// Detached values are held while the inputs move, and the verdict says so where it matters.
#[test]
fn stopped_gradients_are_judged() {
    let dir = tempfile::tempdir().unwrap();
    for (loss, held) in [("stopped", true), ("lying", true), ("good", false)] {
        let (_, name) = load_paths("snapshots/hostile", loss).pop().unwrap();
        let verdict = verdict(dir.path(), &name, "gradient");
        assert_eq!(verdict["verdict"], "holds", "{loss}: {verdict}");
        let detail = verdict["detail"].as_str().unwrap();
        assert_eq!(
            detail.contains("what it detaches counts as constant"),
            held,
            "{loss}: {detail}"
        );
        // The error is told as a share of the gradient, and central differences are good to 1e-7.
        let worst = detail.split("off by ").nth(1).unwrap().split(' ').next().unwrap();
        assert!(worst.parse::<f64>().unwrap() < 1e-6, "{detail}");
    }
    let circle = verdict(dir.path(), "circle", "gradient");
    assert_eq!(circle["verdict"], "holds", "no exemption is needed: {circle}");
}

/// A loss that takes no plain batch is inspected, tried and pinned on one that it takes.
#[test]
fn equal_widths_and_two_views_are_tried() {
    let dir = tempfile::tempdir().unwrap();
    for (loss, words, views) in
        [("follow", "equal widths", 1), ("views", "equal widths, two views", 2)]
    {
        let (_, name) = load_paths("snapshots/hostile", loss).pop().unwrap();
        let info = run(dir.path(), &["loss", "info", &name]);
        let inputs = format!("Inputs:     source, target ({words})");
        assert!(stdout(&info).contains(&inputs), "{}{}", stdout(&info), stderr(&info));
        let info = run(dir.path(), &["loss", "info", &name, "--json"]);
        let info: Value = serde_json::from_str(&stdout(&info)).unwrap();
        assert_eq!((&info["equal_widths"], &info["views"]), (&true.into(), &views.into()));

        let file = name.split('#').next().unwrap();
        assert!(run(dir.path(), &["plugin", "info", file]).status.success());
        let recorded = run(dir.path(), &["snapshot", "record", &name]);
        assert!(recorded.status.success(), "{}", stderr(&recorded));
        let path = dir.path().join(format!("snapshots/{loss}.snapshot"));
        let text = std::fs::read_to_string(path).unwrap();
        let case = format!("case n 12 d 6 {}\n  value.1 ", words.replace(',', ""));
        assert!(text.contains(&case), "{text}");
        assert!(run(dir.path(), &["snapshot", "verify", &name]).status.success());

        let example = format!("{loss}.safetensors");
        let args = ["loss", "eval", &name, "--dtype=f64", "--json"];
        let written = run(dir.path(), &[&args[..], &["--example", &example]].concat());
        assert!(written.status.success(), "{}", stderr(&written));
        let views = format!("--views={views}");
        let read = run(dir.path(), &[&args[..], &["--input", &example, &views]].concat());
        assert_eq!(stdout(&read), stdout(&written), "{}", stderr(&read));
        // Computed here, from the file.
        let tensors = retort_snapshots::tensors(&dir.path().join(&example));
        let (t, s) = (&tensors["target"], &tensors["source"]);
        let squares =
            |t: &[f64], s: &[f64]| -> f64 { t.iter().zip(s).map(|(t, s)| (t - s).powi(2)).sum() };
        let n = t.shape().to_vec()[0];
        let (t, s) = (t.iter::<f64>().collect::<Vec<_>>(), s.iter::<f64>().collect::<Vec<_>>());
        let wanted = if loss == "follow" {
            squares(&t, &s) / n as f64
        } else {
            let (first, second) = t.split_at(t.len() / 2);
            squares(first, second) / first.len() as f64 + squares(&t, &s) / t.len() as f64
        };
        let value: Value = serde_json::from_str(&stdout(&read)).unwrap();
        let value = value["value"].as_f64().unwrap();
        assert!((value - wanted).abs() < 1e-12 * wanted, "{loss}: {value}, not {wanted}");
    }
}

/// Large defaults that only take longer are made smaller, and that is said.
#[test]
fn large_defaults_are_made_smaller_and_listed() {
    let dir = tempfile::tempdir().unwrap();
    let (_, name) = load_paths("snapshots/hostile", "stopped").pop().unwrap();
    let text = stdout(&run(dir.path(), &["loss", "check", &name]));
    assert!(text.contains("snapshot: most = 32\n"), "{text}");
    let output = run(dir.path(), &["loss", "check", &name, "--json", "--set=most=4000"]);
    let result: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(result["made_smaller"], serde_json::json!({}), "the user's own number stays");
    assert_eq!(result["hyperparameters"]["most"], 4000);
}

/// A whole pack: a summary, what fails with what to do about it, and a file for a forge.
#[test]
fn a_pack_is_checked_whole() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["good", "silent", "bare_root"].map(|loss| {
        let (_, name) = load_paths("snapshots/hostile", loss).pop().unwrap();
        name
    });
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let more = ["--junit", "junit.xml", "--html", "cards", "--save", "found"];
    let output = run(dir.path(), &[&["loss", "check"][..], &names, &more].concat());
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.starts_with("error: silent fails: one class; bare_root fails: "), "{message}");
    let text = stdout(&output);
    let row = |loss: &str| {
        let line = text.lines().find(|l| l.trim_start().starts_with(loss)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("good ")[1..], ["holds", "16", "0", "2"], "{text}");
    assert_eq!(row("silent ")[1..], ["FAILS", "15", "0", "2", "one", "class"], "{text}");
    assert!(text.contains("silent, one class: value and gradient are always zero"), "{text}");
    assert!(text.contains("  Begin with `step.need_negative_pairs()`"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours but on a terminal: {text}");
    for file in ["cards/good.html", "cards/silent.html", "found/bare_root.duplicates.safetensors"] {
        assert!(dir.path().join(file).is_file(), "{file}");
    }
    let xml = std::fs::read_to_string(dir.path().join("junit.xml")).unwrap();
    for part in [
        "<testsuites name=\"retort loss check\" tests=\"54\" failures=\"",
        "  <testsuite name=\"good\" tests=\"18\" failures=\"0\" errors=\"0\" skipped=\"2\" time=\"",
        "<testcase classname=\"silent\" name=\"one class\" time=\"",
        "<failure message=\"value and gradient are always zero",
        "smallest input: target [[",
        "<skipped message=\"unchecked: there is none: make one",
    ] {
        assert!(xml.contains(part), "{part}: {xml}");
    }
    let count = |tag: &str| {
        (xml.matches(&format!("<{tag} ")).count(), xml.matches(&format!("</{tag}>")).count())
    };
    assert_eq!(count("testcase"), (54, 54));
    assert_eq!(count("testsuite"), (3, 3));

    let json = run(dir.path(), &[&["loss", "check", "--json"][..], &names[..2]].concat());
    let json: Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert_eq!(json["ok"], false);
    assert_eq!((&json["losses"][0]["ok"], &json["losses"][1]["ok"]), (&true.into(), &false.into()));
    let one = &json["losses"][1]["verdicts"].as_array().unwrap()[7];
    assert!(one["remedy"].as_str().unwrap().contains("need_negative_pairs"), "{one}");
    let set = run(dir.path(), &[&["loss", "check", "--set=a=1"][..], &names[..2]].concat());
    assert_eq!(set.status.code(), Some(2), "{}", stderr(&set));

    // A file without `#` means all of it.
    let description = handmade::description("a", &serde_json::json!([]));
    std::fs::write(dir.path().join("pack.wasm"), handmade::component(&description, "")).unwrap();
    let hand = run(dir.path(), &["loss", "check", "pack.wasm", "--json"]);
    let hand: Value = serde_json::from_str(&stdout(&hand)).unwrap();
    assert_eq!(hand["loss"], "a", "of one loss there is no list");
}

#[test]
fn the_table_of_a_sound_loss() {
    let output = run(workspace(), &["loss", "check", "rkd_distance"]);
    assert!(output.status.success(), "{}", stderr(&output));
    // Figures of time and rounding aren't pinned.
    let text = stdout(&output);
    let text: Vec<&str> = text.lines().map(|l| l.get(..25).unwrap_or(l).trim_end()).collect();
    insta::assert_snapshot!(text.join("\n"), @"
     PROPERTY      VERDICT
     runs          holds
     gradient      holds
     order         holds
     determinism   holds
     load path     unchecked
     duplicates    holds
     zero rows     holds
     one class     holds
     all distinct  holds
     small batch   holds
     huge norms    holds
     tiny norms    holds
     outlier       holds
     f16 range     holds
     choices       holds
     scaling       holds
     parameters    holds
     snapshot      holds
    ");
}

#[test]
fn snapshots_are_recorded_verified_and_name_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (_, wasm) = load_paths("plugins", "rkd").pop().unwrap();
    let file = wasm.split('#').next().unwrap();
    let recorded = run(dir.path(), &["snapshot", "record", &wasm]);
    assert_eq!(stdout(&recorded), "rkd: recorded in snapshots/rkd.snapshot\n");
    let same = run(dir.path(), &["snapshot", "verify", "rkd"]);
    assert_eq!(stdout(&same), "rkd: the same\n", "{}", stderr(&same));
    // retort's own snapshots are of the same kind.
    let own = workspace().join("snapshots/snapshots");
    let own = own.to_str().unwrap();
    let all = run(dir.path(), &["snapshot", "verify", file, "--against", own]);
    assert!(all.status.success(), "{}", stderr(&all));
    assert_eq!(stdout(&all).lines().count(), losses().len());

    let path = dir.path().join("snapshots/rkd.snapshot");
    let text = std::fs::read_to_string(&path).unwrap();
    let old = text.lines().find(|l| l.trim_start().starts_with("value.1")).unwrap();
    std::fs::write(&path, text.replacen(old, "  value.1 1.25e0", 1)).unwrap();
    let changed = run(dir.path(), &["snapshot", "verify", &wasm]);
    assert_eq!(changed.status.code(), Some(1));
    assert!(stderr(&changed).contains("not what was recorded in snapshots: rkd"));
    let is = old.split_whitespace().last().unwrap();
    let text = stdout(&changed);
    let line = format!("  rkd, case n 12 d 6, value.1: was 1.25e0, is {is} (relative change ");
    assert!(text.contains(&line), "{text}");

    let refused = run(dir.path(), &["snapshot", "record", "rkd"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("record it with --force"), "{}", stderr(&refused));
    assert!(run(dir.path(), &["snapshot", "record", "rkd", "--force"]).status.success());
    assert!(run(dir.path(), &["snapshot", "verify", "rkd"]).status.success());

    for (args, part) in [
        (&["snapshot", "verify", "pkt"][..], "pkt.snapshot"),
        (
            &["snapshot", "verify", "pkt", "--against", "snapshots/rkd.snapshot"],
            "of rkd, not of pkt",
        ),
        (&["snapshot", "verify", "rkd", "--against", "Cargo.toml"], "Cargo.toml"),
        (&["snapshot", "record", "rkd", &wasm], "both have a loss rkd"),
        (&["loss", "check", "rkd", "--snapshot", "nowhere"], "nowhere"),
        (&["loss", "check", "rkd", "--with", "nowhere.wasm"], "nowhere.wasm"),
    ] {
        let output = run(dir.path(), args);
        assert!(!output.status.success());
        assert!(stderr(&output).contains(part), "{args:?}: {}", stderr(&output));
    }
}
