//! Every command in `README.md` and `docs/`, as typed: the pages' `sh` blocks, each page in a folder of its own.

use retort_datasets::{Options, Split};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A page of benchmarks, whose commands take minutes, and one whose commands `.ci/python-losses` runs: they need a program
/// of Python's.
const EXCEPT: [&str; 2] = ["benchmarks.md", "python-loss.md"];

/// A page's blocks of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let (mut blocks, fence) = (Vec::new(), format!("```{language}"));
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.trim() == fence {
            let block: Vec<&str> = lines.by_ref().take_while(|l| l.trim() != "```").collect();
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

/// A reader's own pictures: a folder for each of a dozen classes.
fn pictures(data: &Path, to: &Path) {
    let options = Options { root: Some(data.join("omniglot")), size: 32, ..Options::default() };
    let dataset = retort_datasets::open("omniglot", Split::Test, &options).unwrap();
    for i in 0..240 {
        let image = dataset.image(i).unwrap();
        let class = to.join(format!("class{:02}", dataset.labels()[i]));
        std::fs::create_dir_all(&class).unwrap();
        let (width, height) = (image.width as u32, image.height as u32);
        let picture = image::GrayImage::from_raw(width, height, image.pixels).unwrap();
        picture.save(class.join(format!("{i}.png"))).unwrap();
    }
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).canonicalize().unwrap()
}

/// Runs a page's blocks in order, where its reader would: beside a clone, with data there.
fn run(page: &Path) {
    let root = root();
    let data = std::env::var_os("RETORT_DATA")
        .map_or_else(|| root.join("../shared/data"), |path| root.join(PathBuf::from(path)));
    assert!(data.is_dir(), "there is no {}: set RETORT_DATA", data.display());
    let dir = tempfile::tempdir().unwrap();
    for (link, to) in [("retort", &root), ("data", &data)] {
        std::os::unix::fs::symlink(to.canonicalize().unwrap(), dir.path().join(link)).unwrap();
    }
    // The pack of the page on losses takes the versions that this repository has: no network needed.
    std::fs::create_dir(dir.path().join("my_pack")).unwrap();
    std::fs::copy(root.join("Cargo.lock"), dir.path().join("my_pack/Cargo.lock")).unwrap();
    pictures(&data, &dir.path().join("pictures"));
    work(page, dir.path(), "");
    if page.ends_with("first-run.md") {
        numbers_are_as_told(dir.path());
    }
}

/// The first run's page says what its reader will see.
fn numbers_are_as_told(dir: &Path) {
    let recall = |run: &str| {
        let text = std::fs::read_to_string(dir.join(run).join("summary.json")).unwrap();
        let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
        summary["recall"]["1"].as_f64().unwrap()
    };
    for (run, about) in [("source", 0.80), ("alone", 0.40), ("target", 0.65)] {
        assert!((recall(run) - about).abs() < 0.15, "{run} has a Recall@1 of {}", recall(run));
    }
}

/// What stands in for the README's commands that build this program and run this test: the program that was
/// built, and nothing. Demo and suite are small ones: whole they take minutes.
const IN_A_CLONE: &str = r#"
cargo() {
    case "$1 $2" in
        "run --") shift 2; retort "$@" ;;
        "test --workspace") ;;
        "install --locked") test "$3 $4" = "--path host" && test -f host/Cargo.toml ;;
        *) return 1 ;;
    esac
}
rustup() { test "$*" = "target add wasm32-unknown-unknown"; }
retort() {
    case "$1" in
        demo) set -- "$@" --set data.classes=20 --set data.images=8 --set train.epochs=1 --set train.batch=20 ;;
        compare) set -- "$@" --set train.epochs=1 ;;
    esac
    command retort "$@"
}
"#;

/// Runs the README's blocks in order, in what looks like a clone.
fn run_readme(readme: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let own = [".git", "target", "runs"];
    for entry in std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap()) {
        if own.iter().all(|name| entry.file_name() != *name) {
            let link = dir.path().join(entry.file_name());
            std::os::unix::fs::symlink(entry.path(), link).unwrap();
        }
    }
    work(readme, dir.path(), IN_A_CLONE);
}

/// Runs a page's blocks in order, each after a beginning.
fn work(page: &Path, dir: &Path, beginning: &str) {
    let bin = Path::new(env!("CARGO_BIN_EXE_retort")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for block in blocks(&std::fs::read_to_string(page).unwrap(), "sh") {
        let mut shell = Command::new("sh");
        let script = format!("{beginning}{block}");
        shell.args(["-e", "-c", &script]).env("PATH", &path).current_dir(dir);
        // A reader's own keys and packs aren't touched, and what was downloaded once does.
        shell.env("RETORT_HOME", dir.join("home")).env("CARGO_NET_OFFLINE", "true");
        let output = shell.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}:\n{block}\n{said}", page.display());
    }
}

#[test]
fn the_commands_of_every_page_work() {
    let pages = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages: Vec<PathBuf> = pages
        .filter(|p| {
            p.extension().is_some_and(|e| e == "md") && !EXCEPT.iter().any(|e| p.ends_with(e))
        })
        .filter(|p| !blocks(&std::fs::read_to_string(p).unwrap(), "sh").is_empty())
        .collect();
    assert!(!pages.is_empty());
    std::thread::scope(|scope| {
        let mut running: Vec<_> = pages.iter().map(|page| scope.spawn(|| run(page))).collect();
        running.push(scope.spawn(|| run_readme(&root().join("README.md"))));
        for page in running {
            if let Err(panic) = page.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

#[test]
fn the_readme_shows_a_loss_as_it_is() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let file = std::fs::read_to_string(root().join("plugins/src/relaxed_contrastive.rs")).unwrap();
    let shown = blocks(&readme, "rust");
    assert!(!shown.is_empty() && shown.iter().all(|block| file.contains(block)));
    assert!(readme.lines().count() <= 120, "the README is what one reads at once");
}
