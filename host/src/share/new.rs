//! A folder in which a loss is begun: it builds, checks and trains at once, and needs nothing but this program and Rust, or
//! componentize-py.

use super::name::is_part;
use super::sdk;
use crate::failure::{Failure, Result};
use retort_core::fs::atomic_write;
use retort_sdk::schema::is_name;
use std::path::{Path, PathBuf};

/// The workflow of a pack's repository, as `docs/ci/pack.yml` has it.
const CI: &str = include_str!(concat!(env!("OUT_DIR"), "/pack.yml"));
/// The same of a pack in Python.
const PYTHON_CI: &str = include_str!(concat!(env!("OUT_DIR"), "/python-pack.yml"));

/// What a pack is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// A crate.
    Rust,
    /// A folder with a `pyproject.toml`.
    Python,
}

/// What lies where, of a crate.
const RUST: [(&str, &str); 7] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.txt")),
    ("src/lib.rs", include_str!("template/lib.rs.txt")),
    ("src/{pack}.rs", include_str!("template/loss.rs.txt")),
    ("README.md", include_str!("template/README.md.txt")),
    ("LICENSE", include_str!("template/LICENSE.txt")),
    (".gitignore", include_str!("template/gitignore.txt")),
    (".github/workflows/pack.yml", CI),
];

/// What lies where, of a pack in Python.
const PYTHON: [(&str, &str); 6] = [
    ("pyproject.toml", include_str!("template/python/pyproject.toml.txt")),
    ("{pack}.py", include_str!("template/python/loss.py.txt")),
    ("README.md", include_str!("template/python/README.md.txt")),
    ("LICENSE", include_str!("template/LICENSE.txt")),
    (".gitignore", include_str!("template/python/gitignore.txt")),
    (".github/workflows/pack.yml", PYTHON_CI),
];

/// Makes the folder of a new pack, called as its loss: `a_loss`.
pub fn make(path: &Path, author: &str, language: Language) -> Result<Vec<PathBuf>> {
    let pack = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !is_name(pack) || !is_part(pack) {
        return Err(Failure::usage(format!(
            "{pack:?} can't be the name of a loss: a small letter and up to 38 more, digits or underscores"
        )));
    }
    if !is_part(author) {
        return Err(Failure::usage(format!(
            "{author:?} can't be the name of an author: small letters, digits, - and _"
        )));
    }
    if std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) || path.is_file() {
        return Err(Failure::usage(format!(
            "{} is there already, and isn't empty",
            path.display()
        )));
    }
    let capital = |word: &str| {
        let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        first.to_uppercase() + rest
    };
    let loss: String = pack.split('_').map(capital).collect();
    let filled = |text: &str| {
        let text = text.replace("{pack}", pack).replace("{author}", author);
        text.replace("{Loss}", &loss).replace("{sdk}", env!("CARGO_PKG_VERSION"))
    };
    let templates = match language {
        Language::Rust => RUST.as_slice(),
        Language::Python => PYTHON.as_slice(),
    };
    let mut files: Vec<(String, String)> =
        templates.iter().map(|(name, text)| (filled(name), filled(text))).collect();
    // Where an editor finds the SDK on this machine.
    files.push(match language {
        Language::Rust => {
            let folder = serde_json::Value::from(sdk::folder()?.display().to_string());
            let config = format!("[patch.crates-io]\nretort-sdk = {{ path = {folder} }}\n");
            (".cargo/config.toml".to_owned(), config)
        }
        Language::Python => {
            let folder = sdk::python_folder()?.display().to_string();
            let config = serde_json::json!({"extraPaths": [folder], "exclude": ["target"]});
            ("pyrightconfig.json".to_owned(), format!("{config:#}\n"))
        }
    });
    let mut written = Vec::new();
    for (name, text) in files {
        let file = path.join(name);
        let dir = file.parent().unwrap_or(path);
        std::fs::create_dir_all(dir).map_err(|e| Failure::file("make the folder", dir, e))?;
        atomic_write(&file, text.as_bytes()).map_err(Failure::new)?;
        written.push(file);
    }
    Ok(written)
}
