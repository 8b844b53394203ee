//! Every command in `docs/`, as typed: the pages' `sh` blocks, each page in a folder of its own.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests")]

use retort_datasets::{Options, Split};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A page of benchmarks, whose commands take minutes.
const EXCEPT: &str = "benchmarks.md";

fn blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "```sh" {
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

/// Runs a page's blocks in order, where its reader would: beside a clone, with data and suites there.
fn run(page: &Path) {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).canonicalize().unwrap();
    let data = std::env::var_os("RETORT_DATA")
        .map_or_else(|| root.join("../shared/data"), |path| root.join(PathBuf::from(path)));
    assert!(data.is_dir(), "there is no {}: set RETORT_DATA", data.display());
    let dir = tempfile::tempdir().unwrap();
    for (link, to) in [("retort", &root), ("data", &data), ("suites", &root.join("suites"))] {
        std::os::unix::fs::symlink(to.canonicalize().unwrap(), dir.path().join(link)).unwrap();
    }
    // The pack of the page on losses takes the versions that this repository has: no network needed.
    std::fs::create_dir(dir.path().join("my_pack")).unwrap();
    std::fs::copy(root.join("Cargo.lock"), dir.path().join("my_pack/Cargo.lock")).unwrap();
    pictures(&data, &dir.path().join("pictures"));
    let bin = Path::new(env!("CARGO_BIN_EXE_retort")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for block in blocks(&std::fs::read_to_string(page).unwrap()) {
        let mut shell = Command::new("sh");
        shell.args(["-e", "-c", &block]).env("PATH", &path).current_dir(dir.path());
        let output = shell.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}:\n{block}\n{said}", page.display());
    }
}

#[test]
fn the_commands_of_every_page_work() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let pages = std::fs::read_dir(docs).unwrap().map(|entry| entry.unwrap().path());
    let pages: Vec<PathBuf> = pages
        .filter(|p| p.extension().is_some_and(|e| e == "md") && !p.ends_with(EXCEPT))
        .filter(|p| !blocks(&std::fs::read_to_string(p).unwrap()).is_empty())
        .collect();
    assert!(!pages.is_empty());
    std::thread::scope(|scope| {
        let running: Vec<_> = pages.iter().map(|page| scope.spawn(|| run(page))).collect();
        for page in running {
            if let Err(panic) = page.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}
