//! Builds a pack written in Python: a folder whose `pyproject.toml` lists its losses, a file each. componentize-py puts
//! them into a component together with the SDK and a Python that is as far as its `import` lines when it starts.

use super::build::Built;
use super::digest;
use crate::experiment::misread;
use crate::failure::{Failure, Result};
use crate::share::{about, sdk};
use crate::terminal::{output, progress};
use retort_core::fs::{atomic_write, read_regular, read_text};
use retort_sdk::{abi, schema::is_name};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The manifest of such a pack.
pub const MANIFEST: &str = "pyproject.toml";
/// The program that makes components of Python.
const TOOL: &str = "componentize-py";
/// How it is installed.
const INSTALL: &str = "pip install \"componentize-py>=0.25,<0.26\"";
/// The module that the component starts with, which no file of a pack's can be called.
const APP: &str = "retort_pack";

/// Bytes of a manifest, and of all of a pack's code.
const MANIFEST_BYTES: u64 = 64 << 10;
const CODE_BYTES: u64 = 16 << 20;
/// Files of a pack's code, and folders in one another.
const FILES: usize = 1000;
const DEPTH: usize = 8;
/// Bytes of a component.
const COMPONENT_BYTES: u64 = 1 << 30;

/// What the manifest says.
#[derive(Deserialize)]
struct Manifest {
    project: Project,
    #[serde(default)]
    tool: Tools,
}

/// Python's own table; what isn't here is for other tools.
#[derive(Deserialize)]
struct Project {
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    readme: Option<toml::Value>,
    #[serde(default)]
    license: Option<toml::Value>,
    #[serde(default)]
    authors: Vec<toml::Table>,
    #[serde(default)]
    urls: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Tools {
    #[serde(default)]
    retort: Option<Retort>,
}

/// `[tool.retort]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retort {
    #[serde(default)]
    author: Option<String>,
    losses: Vec<String>,
}

/// Whether a path is of a pack in Python: its manifest, or a folder that has one and isn't a crate.
pub fn is_pack(path: &Path) -> bool {
    match path.file_name() {
        Some(name) if name == MANIFEST => path.is_file(),
        _ => path.join(MANIFEST).is_file() && !path.join("Cargo.toml").is_file(),
    }
}

/// The folder of a pack: its own path, or that of its manifest.
fn folder(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if path.is_dir() { path } else { parent.unwrap_or(Path::new(".")) }
}

fn read(folder: &Path) -> Result<(Manifest, Retort)> {
    let file = folder.join(MANIFEST);
    let wrong = |why: String| Failure::usage(format!("{}: {why}", file.display()));
    let text = read_text(&file, MANIFEST_BYTES).map_err(|e| Failure::file("read", &file, e))?;
    let mut manifest: Manifest = toml::from_str(&text).map_err(|e| misread(&e, &text, &file))?;
    let Some(retort) = manifest.tool.retort.take() else {
        return Err(wrong(
            "it is no pack: a pack lists its losses, [tool.retort] losses = [\"my_loss\"]"
                .to_owned(),
        ));
    };
    if !is_name(&manifest.project.name) {
        return Err(wrong(format!(
            "project.name = {:?}: a pack's name is a small letter and up to 63 more, digits or underscores",
            manifest.project.name
        )));
    }
    if retort.losses.is_empty() {
        return Err(wrong("[tool.retort] losses is empty: name the file of a loss".to_owned()));
    }
    for loss in &retort.losses {
        if !is_name(loss) || loss == APP {
            return Err(wrong(format!(
                "[tool.retort] losses has {loss:?}: a loss is called as its file, without .py, by small letters, digits \
                 and underscores"
            )));
        }
        if !folder.join(loss).with_extension("py").is_file() {
            return Err(wrong(format!(
                "[tool.retort] losses has {loss:?}, but there is no {loss}.py"
            )));
        }
    }
    Ok((manifest, retort))
}

/// What a pack's manifest says, under the keys that cargo has for a crate.
pub fn package(path: &Path) -> Result<Value> {
    let folder = folder(path);
    let (Manifest { project, .. }, retort) = read(folder)?;
    let text = |value: &Option<toml::Value>, key: &str| match value {
        Some(toml::Value::String(text)) => Some(text.clone()),
        Some(toml::Value::Table(table)) => Some(table.get(key)?.as_str()?.to_owned()),
        _ => None,
    };
    let authors = project.authors.iter().filter_map(|author| {
        let of = |key: &str| author.get(key).and_then(toml::Value::as_str);
        match (of("name"), of("email")) {
            (Some(name), Some(email)) => Some(format!("{name} <{email}>")),
            (one, other) => one.or(other).map(str::to_owned),
        }
    });
    let url = |wanted: &str| {
        let found = project.urls.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, url)| url.clone())
    };
    Ok(json!({
        "name": project.name,
        "version": project.version,
        "description": project.description,
        "license": text(&project.license, "text"),
        "readme": text(&project.readme, "file"),
        "authors": authors.collect::<Vec<String>>(),
        "homepage": url("homepage"),
        "repository": url("repository").or_else(|| url("source")),
        "manifest_path": folder.join(MANIFEST),
        "metadata": {"retort": {"author": retort.author}},
    }))
}

/// Builds a pack's component. What was built of the same files isn't built again: componentize-py takes its time, and
/// gives other bytes each time.
pub fn build(path: &Path, out: Option<&Path>) -> Result<Built> {
    let folder = folder(path);
    let (manifest, retort) = read(folder)?;
    let name = format!("{}.wasm", manifest.project.name);
    let own = folder.join("target/retort");
    let out = out.unwrap_or(&own);
    let code = code(folder)?;
    let kept = own.join("build").join(format!("{}.wasm", key(&code, &retort.losses)?));
    let component = match read_regular(&kept, COMPONENT_BYTES) {
        Ok(component) => component,
        Err(_) => componentize(&name, &code, &retort.losses)?,
    };
    for file in [&kept, &out.join(&name)] {
        let dir = file.parent().unwrap_or(out);
        std::fs::create_dir_all(dir).map_err(|e| Failure::file("make the folder", dir, e))?;
        atomic_write(file, &component).map_err(Failure::new)?;
    }
    forget_others(&kept);
    Ok(Built { native: None, wasm: Some(out.join(name)) })
}

/// Leaves one component where they are kept: each has 18 MB.
fn forget_others(kept: &Path) {
    let entries = kept.parent().and_then(|dir| std::fs::read_dir(dir).ok());
    for path in entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())) {
        if path != kept && path.extension().is_some_and(|end| end == "wasm") {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A pack's Python files with their paths in its folder, in order.
type Code = BTreeMap<String, String>;

fn code(folder: &Path) -> Result<Code> {
    let (mut found, mut bytes) = (Code::new(), 0);
    gather(folder, "", 0, &mut found, &mut bytes)?;
    Ok(found)
}

fn gather(dir: &Path, within: &str, depth: usize, found: &mut Code, bytes: &mut u64) -> Result<()> {
    let entries = std::fs::read_dir(dir).map_err(|e| Failure::file("list", dir, e))?;
    for entry in entries {
        let entry = entry.map_err(|e| Failure::file("list", dir, e))?;
        let kind = entry.file_type().map_err(|e| Failure::file("look at", &entry.path(), e))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        if kind.is_dir() {
            let other = name.starts_with('.')
                || ["target", "build", "dist", "__pycache__"].contains(&name.as_str())
                || path.join("pyvenv.cfg").exists();
            if !other && depth < DEPTH {
                gather(&path, &format!("{within}{name}/"), depth + 1, found, bytes)?;
            }
        } else if path.extension().is_some_and(|end| end == "py") {
            let text = read_text(&path, CODE_BYTES - *bytes);
            let text = text.map_err(|e| Failure::file("read", &path, e))?;
            *bytes += text.len() as u64;
            found.insert(format!("{within}{name}"), text);
            if found.len() > FILES {
                let dir = dir.display();
                return Err(Failure::usage(format!("{dir} has more than {FILES} Python files")));
            }
        }
    }
    Ok(())
}

/// What a component is made of, as a name: the pack's files, the SDK, and the program that makes it.
fn key(code: &Code, losses: &[String]) -> Result<String> {
    let all = json!([code, losses, sdk::python(), app(losses), version()?]).to_string();
    Ok(digest(all.as_bytes()).trim_start_matches("sha256:").to_owned())
}

/// The program that makes components, by `COMPONENTIZE_PY` or by its own name.
fn tool() -> Command {
    let program = std::env::var_os("COMPONENTIZE_PY").filter(|v| !v.is_empty());
    Command::new(program.unwrap_or_else(|| TOOL.into()))
}

fn version() -> Result<String> {
    let output = tool().arg("--version").stdin(Stdio::null()).output().map_err(|e| {
        Failure::new(format!(
            "can't run {TOOL}, which makes components of Python: {e}; install it with `{INSTALL}`, or name it in \
             COMPONENTIZE_PY"
        ))
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The module that a component starts with.
fn app(losses: &[String]) -> String {
    let (losses, sdk) =
        (json!(losses), format!("retort-sdk {} for Python", env!("CARGO_PKG_VERSION")));
    format!(
        "from wit_world.imports import host as imports\nfrom retort_sdk import host\nfrom retort_sdk.component import \
         world\n\nhost.use(imports)\nWitWorld = world({losses}, {sdk:?})\n"
    )
}

/// Makes the component in a folder of its own: the pack's code runs as far as its imports, in a sandbox that can write
/// to the folders that it is given.
fn componentize(name: &str, code: &Code, losses: &[String]) -> Result<Vec<u8>> {
    let dir = tempfile::tempdir().map_err(|e| Failure::new(format!("can't make a folder: {e}")))?;
    let at = |part: &str| dir.path().join(part);
    let put = |file: PathBuf, text: &str| {
        let dir = file.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir).map_err(|e| Failure::file("make the folder", dir, e))?;
        std::fs::write(&file, text).map_err(|e| Failure::file("write", &file, e))
    };
    for (file, text) in code {
        put(at("pack").join(file), text)?;
    }
    put(at("app").join(APP).with_extension("py"), &app(losses))?;
    for (file, text) in sdk::python() {
        put(at("sdk").join(file), text)?;
    }
    put(at("wit/plugin.wit"), sdk::wit())?;
    // An environment without packages: what a pack needs lies in its folder.
    let packages = at("venv/lib/site-packages");
    std::fs::create_dir_all(&packages)
        .map_err(|e| Failure::file("make the folder", &packages, e))?;
    let made = at("made.wasm");
    let mut command = tool();
    command.arg("--wit-path").arg(at("wit")).args([
        "--world",
        "plugin",
        "componentize",
        "--stub-wasi",
    ]);
    for part in ["pack", "app", "sdk"] {
        command.arg("--python-path").arg(at(part));
    }
    command.arg(APP).arg("--output").arg(&made).env("VIRTUAL_ENV", at("venv"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = said_meanwhile(name, move || command.output())
        .map_err(|e| Failure::new(format!("can't run {TOOL}: {e}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let mut failure = Failure::new(format!("{TOOL} could not make {name}; it says"));
        failure.list = traceback(&said);
        return Err(failure);
    }
    let bytes = read_regular(&made, COMPONENT_BYTES);
    let mut bytes = bytes.map_err(|e| Failure::file("read", &made, e))?;
    about::append(&mut bytes, abi::SECTION_WASM, &abi::INTERFACE.to_le_bytes());
    Ok(bytes)
}

/// Does what takes a while, and says so: on a terminal at once, elsewhere in a line.
fn said_meanwhile<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
    const PATIENCE: Duration = Duration::from_secs(2);
    let bar = progress::spinner();
    bar.set_message(format!("{TOOL} makes {name}: half a minute or so"));
    let started = Instant::now();
    let result = std::thread::scope(|scope| {
        let work = scope.spawn(work);
        let mut said = !bar.is_hidden();
        while !work.is_finished() {
            if !said && started.elapsed() > PATIENCE {
                output::say(format_args!("{TOOL} makes {name}: half a minute or so …"));
                said = true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        work.join()
    });
    bar.finish_and_clear();
    match result {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Of what componentize-py says where a pack's code fails, Python's own words: with the files as the author knows them,
/// and without the frames of the SDK and of the module that imports the losses.
fn traceback(said: &str) -> Vec<String> {
    const MOST: usize = 40;
    // componentize-py is itself a Python program, whose own traceback comes first.
    let text = said.split_once("AssertionError: ").map_or(said, |(_, own)| own);
    let text = text.split("\nCaused by:").next().unwrap_or(text);
    let (mut lines, mut left_out) = (Vec::new(), false);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(file) = line.trim_start().strip_prefix("File \"") {
            left_out = !file.starts_with("/0/");
        } else if !line.starts_with(' ') {
            left_out = false;
        }
        if !left_out {
            lines.push(line.replace("File \"/0/", "File \""));
        }
    }
    lines.truncate(MOST);
    lines
}

#[cfg(test)]
mod tests {
    use super::{is_pack, package, traceback};
    use std::path::Path;

    /// What 0.25.1 says of a loss whose hyperparameter has no default.
    const SAID: &str = "Traceback (most recent call last):\n  File \"<frozen runpy>\", line 198, in _run_module_as_main\n\
        AssertionError: Traceback (most recent call last):\n  File \"/1/retort_pack.py\", line 6, in <module>\n    WitWorld = \
        world([\"my_loss\"], \"\")\n  File \"/2/retort_sdk/component.py\", line 27, in _load\n  File \"/0/my_loss.py\", line \
        8, in <module>\n    class MyLoss(Loss):\nTypeError: MyLoss.tau has no default\n\n\nCaused by:\n    TypeError\n\nStack \
        backtrace:\n   0: anyhow\n";

    #[test]
    fn an_authors_mistake_is_told_by_its_own_file_and_line() {
        assert_eq!(
            traceback(SAID),
            [
                "Traceback (most recent call last):",
                "  File \"my_loss.py\", line 8, in <module>",
                "    class MyLoss(Loss):",
                "TypeError: MyLoss.tau has no default"
            ]
        );
        assert_eq!(traceback("no Python at all"), ["no Python at all"]);
    }

    #[test]
    fn a_manifest_says_what_a_crates_would() {
        let dir = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(dir.path().join("pyproject.toml"), text).unwrap();
        let all = |path: &Path| package(path).map_err(|failure| failure.message);
        write("[project]\nname = \"near\"\n");
        assert!(is_pack(dir.path()) && is_pack(&dir.path().join("pyproject.toml")));
        assert!(all(dir.path()).unwrap_err().contains("[tool.retort] losses"));
        write("[project]\nname = \"near\"\n[tool.retort]\nlosses = [\"near\"]\n");
        assert!(all(dir.path()).unwrap_err().contains("there is no near.py"));
        std::fs::write(dir.path().join("near.py"), "").unwrap();
        for (losses, part) in
            [("[]", "losses is empty"), ("[\"../x\"]", "\"../x\""), ("3", "line 4: invalid type")]
        {
            write(&format!("[project]\nname = \"near\"\n[tool.retort]\nlosses = {losses}\n"));
            let why = all(dir.path()).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
        write("[project]\nname = \"Near By\"\n[tool.retort]\nlosses = [\"near\"]\n");
        assert!(all(dir.path()).unwrap_err().contains("project.name"));
        write(
            "[project]\nname = \"near\"\nversion = \"1.2.0\"\nlicense = { text = \"MIT\" }\nreadme = \"README.md\"\nauthors = \
             [{ name = \"Ada\", email = \"a@b.c\" }, { name = \"Bo\" }]\n[project.urls]\nHomepage = \"h\"\nsource = \
             \"s\"\n[tool.retort]\nauthor = \"ada\"\nlosses = [\"near\"]\n",
        );
        let found = all(&dir.path().join("pyproject.toml")).unwrap();
        assert_eq!(found["version"], "1.2.0");
        assert_eq!((&found["license"], &found["readme"]), (&"MIT".into(), &"README.md".into()));
        assert_eq!(found["authors"], serde_json::json!(["Ada <a@b.c>", "Bo"]));
        assert_eq!((&found["homepage"], &found["repository"]), (&"h".into(), &"s".into()));
        assert_eq!(found["metadata"]["retort"]["author"], "ada");
    }
}
