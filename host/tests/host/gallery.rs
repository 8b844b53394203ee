//! Galleries: the built-in one lies in `docs/gallery`, and what packs of others say stays text.

use retort_host::share::about::About;
use retort_sdk::schema;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn retort(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retort"));
    command.args(args).current_dir(dir).env("RETORT_HOME", dir.join("home"));
    let output = command.env("RETORT_CACHE", dir.join("cache")).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// All files below a folder, by their paths in it.
fn files(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                all.insert(path.strip_prefix(root).unwrap().to_owned(), text);
            }
        }
    }
    all
}

#[test]
fn the_gallery_of_the_docs_is_of_the_losses_there_are() {
    let dir = tempfile::tempdir().unwrap();
    retort(dir.path(), &["gallery", "build", "--out", "gallery"]);
    let made = files(&dir.path().join("gallery"));
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/gallery");
    if std::env::var_os("RETORT_BLESS").is_some() {
        let _ = std::fs::remove_dir_all(&docs);
        for (path, text) in &made {
            std::fs::create_dir_all(docs.join(path).parent().unwrap()).unwrap();
            std::fs::write(docs.join(path), text).unwrap();
        }
    }
    let there = files(&docs);
    assert!(
        made == there,
        "RETORT_BLESS=1 cargo test --workspace --test host gallery writes docs/gallery"
    );
    let page = &made[Path::new("built-in/losses/relaxed_contrastive.html")];
    for part in
        ["<math display=\"block\">", "<msubsup>", "CVPR 2021", "<code>sigma</code>", "above 0"]
    {
        assert!(page.contains(part), "no {part:?}");
    }
    let first = &made[Path::new("index.html")];
    assert!(
        first.contains("href=\"built-in/losses/rkd.html\"")
            && first.contains("script-src 'sha256-")
    );
}

#[test]
fn what_a_pack_says_of_itself_stays_text() {
    let dir = tempfile::tempdir().unwrap();
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u{202e}";
    let loss = json!({"name": "follow", "doc": format!("{evil}\n\nL = {evil}\n\n{evil}"), "paper": evil,
        "hyper": [{"name": "a", "doc": evil, "kind": "float", "default": 1.0}]});
    let about = About {
        name: "eve/follow".parse().unwrap(),
        version: "0.1.0".parse().unwrap(),
        texts: BTreeMap::from([
            ("description", evil.to_owned()),
            ("homepage", format!("https://x.example/{evil}")),
            ("source", "javascript:alert(3)".to_owned()),
        ]),
        readme: format!("# Follow\n\n{evil}\n\n[x](javascript:alert(4)) `code`\n\n{evil}"),
        pins: BTreeMap::new(),
        card: json!({"follow": [{"property": evil, "verdict": evil, "detail": evil}]}),
        losses: schema::Pack {
            interface: 1,
            sdk: "by hand".to_owned(),
            losses: vec![serde_json::from_value(loss).unwrap()],
        },
    };
    std::fs::write(dir.path().join("pack.wasm"), about.put_into(b"\0asm\x0d\0\x01\0").unwrap())
        .unwrap();
    retort(dir.path(), &["plugin", "publish", "pack.wasm", "--unsigned", "--registry", "registry"]);
    retort(dir.path(), &["gallery", "build", "registry", "--out", "gallery"]);
    let made = files(&dir.path().join("gallery"));
    assert_eq!(made.len(), 2);
    for (path, text) in &made {
        let text = text.replace("<script>const field", "");
        for bad in ["<script>", "<img", "href=\"javascript:", "\u{202e}", "\" onerror"] {
            assert!(!text.contains(bad), "{}: {bad}", path.display());
        }
    }
    let page = &made[Path::new("eve/follow/follow.html")];
    assert!(page.contains("retort add eve/follow") && page.contains("<h3>Follow</h3>"), "{page}");
    assert!(page.contains("<code>code</code>") && page.contains("&lt;script&gt;"), "{page}");
}

#[test]
fn a_folder_that_is_not_there_is_told_and_not_taken_for_an_empty_registry() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["gallery", "build", "none", "--out=g"][..],
        &["plugin", "search", "x", "--registry=none"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retort"));
        let output = command.args(args).current_dir(dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(
            said.contains("none: there is no such folder") && said.lines().count() == 1,
            "{said}"
        );
    }
    assert!(!dir.path().join("g").exists());
}
