//! What the host does about plugins that misbehave: an error of that step, and it goes on.

use burn::tensor::FloatDType;
use retort_core::{Limits, Session, Setup};
use retort_host::experiment::settings::{assignments, limits};
use retort_host::loss::evaluation::Evaluation;
use retort_host::plugin::registry::Registry;
use retort_snapshots::corpus::{self, Code, Job, PACK, Place, Program, wat};
use retort_snapshots::{Case, built, cpu, load_paths, session, workspace};
use serde_json::Map;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn open_with(name: &str, limits: &Limits) -> Session {
    session(name, &Map::new(), &cpu(), FloatDType::F32, limits).unwrap()
}

fn open(name: &str) -> Session {
    open_with(name, &Limits::default())
}

/// Runs a loss in an epoch and returns its message.
fn step(session: &mut Session, epoch: usize, progress: f64) -> Result<f64, String> {
    let mut inputs = Case::example(6, 4, 3).inputs(&cpu(), FloatDType::F32);
    (inputs.epoch, inputs.progress) = (epoch, progress);
    let outcome = session.step(&inputs).map_err(|e| e.to_string())?;
    let value = outcome.value.into_scalar::<f64>();
    session.commit();
    Ok(value)
}

/// The message of a loss in the second epoch, on each load path; afterwards the host must be well.
fn messages(loss: &str) -> Vec<(&'static str, String)> {
    let check_host = |path: &str| {
        let good = load_paths(PACK, "good").into_iter().find(|(p, _)| *p == path).unwrap().1;
        assert!(step(&mut open(&good), 0, 0.0).unwrap() > 0.0, "{path}");
    };
    load_paths(PACK, loss)
        .into_iter()
        .map(|(path, name)| {
            let mut session = open(&name);
            let _ = step(&mut session, 0, 0.0);
            let message = step(&mut session, 1, 0.9).expect_err("must fail");
            check_host(path);
            (path, message)
        })
        .collect()
}

#[test]
fn errors_name_the_operation_and_the_source_line() {
    for (path, message) in messages("shapes") {
        assert!(message.starts_with("shapes: sub of [6, 4] and [5, 4] at "), "{path}: {message}");
        assert!(message.contains("shapes.rs:13: the shapes don't broadcast"), "{path}: {message}");
    }
}

#[test]
fn a_panic_is_an_error_of_the_step() {
    for (path, message) in messages("panics") {
        assert!(message.contains("the plugin panicked at"), "{path}: {message}");
        assert!(message.contains("panics.rs:12: as it was told to"), "{path}: {message}");
    }
}

#[test]
fn stale_handles_are_refused() {
    for (path, message) in messages("stale") {
        assert!(message.contains("handles live for one step only"), "{path}: {message}");
    }
}

#[test]
fn huge_tensors_are_refused() {
    for (path, message) in messages("huge") {
        assert!(message.contains("limit `tensor_bytes`"), "{path}: {message}");
    }
}

#[test]
fn late_parameters_are_refused() {
    for (path, message) in messages("late") {
        assert!(
            message.contains("param `late`") && message.contains("after set-up"),
            "{path}: {message}"
        );
    }
}

#[test]
fn a_loss_must_be_one_number() {
    for (path, message) in messages("vector") {
        assert!(message.contains("returned a tensor of shape [6, 1]"), "{path}: {message}");
    }
}

fn component(loss: &str) -> String {
    load_paths(PACK, loss).into_iter().find(|(path, _)| *path == "wasm").unwrap().1
}

#[test]
fn an_endless_component_is_stopped_and_can_be_used_again() {
    let limits = Limits { seconds: 0.3, ..Limits::default() };
    let mut session = open_with(&component("endless"), &limits);
    for _ in 0..2 {
        let message = step(&mut session, 0, 0.0).unwrap_err();
        assert!(message.contains("more than 0.3 seconds (limit `seconds`)"), "{message}");
    }
}

#[test]
fn a_component_gets_no_more_memory_than_its_limit() {
    let limits = Limits { memory_bytes: 50_000_000, seconds: 60.0, ..Limits::default() };
    let mut session = open_with(&component("hungry"), &limits);
    let message = step(&mut session, 0, 0.0).unwrap_err();
    assert!(message.contains("(limit `memory_bytes`)"), "{message}");
}

/// A copy of a file with some bytes replaced, in a folder of its own.
fn patched(file: &Path, find: &[u8], skip: usize, put: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let mut bytes = std::fs::read(file).unwrap();
    let places: Vec<usize> =
        (0..bytes.len() - find.len()).filter(|&i| bytes[i..].starts_with(find)).collect();
    assert!(!places.is_empty(), "the mark must be in the file");
    for at in places {
        let at = at + find.len() + skip;
        bytes[at..at + put.len()].copy_from_slice(put);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(file.file_name().unwrap());
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn refusal(path: &Path) -> String {
    let mut registry = Registry::new(Limits::default()).unwrap();
    registry.pack(path).unwrap_err().to_string()
}

#[test]
fn interfaces_too_old_and_too_new_are_refused_with_advice() {
    let built = built(PACK);
    for (number, advice) in [(0u32, "build the plugin again"), (999, "update retort")] {
        let bytes = number.to_le_bytes();
        let native = patched(&built.native.clone().unwrap(), b"retort-plug\0", 0, &bytes);
        let wasm = patched(&built.wasm.clone().unwrap(), b"retort-interface", 0, &bytes);
        for (_dir, path) in [native, wasm] {
            let message = refusal(&path);
            assert!(message.contains(&format!("plugin interface {number}")), "{message}");
            assert!(message.contains(advice), "{message}");
        }
    }
}

#[test]
fn files_that_are_no_plugins_say_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        refusal(&path)
    };
    let wasm = std::fs::read(built(PACK).wasm.unwrap()).unwrap();
    let native = std::fs::read(built(PACK).native.unwrap()).unwrap();
    let module = b"\0asm\x01\0\0\0";
    let component = b"\0asm\x0d\0\x01\0";
    for (message, part) in [
        (file("text.wasm", b"hello"), "it isn't WebAssembly"),
        (
            file("module.wasm", module),
            "not a component; build one with `retort plugin build --wasm`",
        ),
        (file("empty.wasm", component), "imports no retort:loss/host"),
        (file("cut.wasm", &wasm[..wasm.len() / 2]), "it is damaged"),
        (file("text.so", b"hello"), "no native library of this system"),
        (file("cut.so", &native[..native.len() / 2]), "isn't a retort plugin"),
        (file("plugin.txt", b"hello"), "end in .wasm, .so"),
        (refusal(&dir.path().join("missing.wasm")), "can't read the plugin"),
    ] {
        assert!(message.contains(part), "{message}");
        assert!(!message.contains('\n'), "one paragraph: {message}");
    }
    let program = std::env::current_exe().unwrap();
    let message = file("program.so", &std::fs::read(program).unwrap()[..]);
    assert!(
        message.contains("without the stamp") || message.contains("isn't a retort plugin"),
        "{message}"
    );
}

#[test]
fn compiled_components_are_cached_and_a_damaged_entry_is_made_again() {
    let cache = tempfile::tempdir().unwrap();
    let retort = retort_snapshots::retort();
    let list = || {
        let wasm = built(PACK).wasm.unwrap();
        let mut command = std::process::Command::new(&retort);
        command.args(["loss", "list"]).arg(wasm).env("RETORT_CACHE", cache.path());
        let output = command.current_dir(workspace()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let entry = || {
        let mut entries = std::fs::read_dir(cache.path().join("components")).unwrap();
        let entry = entries.next().unwrap().unwrap().path();
        assert!(entries.next().is_none(), "one component, one entry");
        entry
    };
    let first = list();
    let compiled = std::fs::read(entry()).unwrap();
    assert_eq!(list(), first, "from the cache");
    std::fs::write(entry(), &compiled[..compiled.len() / 2]).unwrap();
    assert_eq!(list(), first, "compiled anew");
    assert_eq!(std::fs::read(entry()).unwrap().len(), compiled.len());
}

/// The corpus through the program, as a user meets it. `RETORT_CORPUS_PROGRAM` names another build of
/// it, `RETORT_CORPUS` attacks (a part of their names), and `RETORT_CORPUS_TABLE` a file for a table.
#[test]
fn every_attack_ends_in_one_sentence_within_its_time_and_memory() {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let path = set("RETORT_CORPUS_PROGRAM").unwrap_or_else(retort_snapshots::retort);
    let program = Program { path, device: "cpu".to_owned() };
    let place = Place::new().unwrap();
    let mut jobs = corpus::jobs(place.folder());
    if let Ok(part) = std::env::var("RETORT_CORPUS") {
        jobs.retain(|job| job.attack.name.contains(&part));
    }
    let base = corpus::base(&program, &place);
    let ends = corpus::run(&jobs, &program, &place);
    if let Some(file) = set("RETORT_CORPUS_TABLE") {
        std::fs::write(file, corpus::table(&jobs, &ends, base)).unwrap();
    }
    let faults = jobs.iter().zip(&ends).filter_map(|(job, end)| end.fault(job, base));
    let faults: Vec<String> = faults.collect();
    println!("{} attacks in {} ways", corpus::attacks().len(), jobs.len());
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn the_corpus_is_whole() {
    let attacks = corpus::attacks();
    assert!(attacks.len() >= 60, "{}", attacks.len());
    let mut names: Vec<&str> = attacks.iter().map(|a| a.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), attacks.len(), "names are unique");
    let by_hand = attacks.iter().filter(|a| a.code == Code::Wat).map(|a| a.name.to_owned());
    let mut by_hand: Vec<String> = by_hand.collect();
    by_hand.sort();
    assert_eq!(by_hand, wat::names(), "every file is an attack");
}

/// A loss by its name, with hyperparameters `key=value` and limits alike. The pack is loaded once.
fn made(registry: &mut Registry, name: &str, way: &str, given: &str) -> Result<Session, String> {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let limits = limits(&words(given)).map_err(|e| e.message)?;
    let mut alone = Registry::new(limits.clone()).map_err(|e| e.to_string())?;
    let registry = if name.ends_with("#attack") { &mut alone } else { registry };
    let found = registry.find(name).map_err(|e| e.to_string())?;
    let hyper = assignments(&words(way)).map_err(|e| e.message)?;
    let hyper = found.resolve(&hyper).map_err(|e| e.to_string())?;
    let code = found.create(&hyper, &limits).map_err(|e| e.to_string())?;
    let setup = Setup { device: cpu(), dtype: FloatDType::F32, seed: 1, limits };
    Ok(Session::new(&found.definition.name, code, setup))
}

/// Two steps with their gradients, as the first two epochs, or what they ended with.
fn strike(registry: &mut Registry, job: &Job) -> Result<(), String> {
    let mut session = made(registry, &job.loss, &job.way, job.attack.limits)?;
    for epoch in 0..2 {
        let mut inputs = Case::example(6, 4, 3).inputs(&cpu(), FloatDType::F32);
        (inputs.epoch, inputs.progress) = (epoch, epoch as f64 / 2.0);
        let evaluation = Evaluation::run(&mut session, &inputs).map_err(|e| e.to_string())?;
        evaluation.gradients(&session, &inputs).map_err(|e| e.to_string())?;
        session.commit();
    }
    Ok(())
}

/// In one process: losses that run beside the attacks, and new ones after each.
#[test]
fn other_losses_and_later_ones_compute_what_they_did() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = BTreeMap::new();
    // A compiler's thread goes on to its end.
    for job in corpus::jobs(folder.path()).into_iter().filter(|j| j.attack.name != "functions") {
        first.entry((job.attack.name, job.path)).or_insert(job);
    }
    let registry = &mut Registry::new(Limits::default()).unwrap();
    let paths: BTreeMap<&str, String> = load_paths(PACK, "bank").into_iter().collect();
    let mut bank = made(registry, &paths["native"], "", "").unwrap();
    let alone: Vec<f64> = (0..first.len()).map(|_| step(&mut bank, 0, 0.0).unwrap()).collect();
    let mut beside: Vec<Session> =
        paths.values().map(|name| made(registry, name, "", "").unwrap()).collect();
    let good: BTreeMap<&str, String> = load_paths(PACK, "good").into_iter().collect();
    let value = |registry: &mut Registry, path: &str| {
        let mut session = made(registry, &good[path], "", "").unwrap();
        Case::example(6, 4, 3).step(&mut session, &cpu(), FloatDType::F32).unwrap().value
    };
    let first_value = value(registry, "native");
    for (((name, path), job), alone) in first.iter().zip(alone) {
        let ended = strike(registry, job);
        let start = Instant::now();
        assert_eq!(value(registry, path), first_value, "after {name} ({path}): {ended:?}");
        for session in &mut beside {
            assert_eq!(step(session, 0, 0.0).unwrap(), alone, "beside {name} ({path}): {ended:?}");
        }
        // What an attack leaves behind in the tensor library costs the others no time either.
        assert!(start.elapsed().as_secs() < 5, "{:?} after {name} ({path})", start.elapsed());
    }
}
