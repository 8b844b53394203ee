//! Lists the snapshots of the built-in losses, so that `retort loss check` has them wherever it runs.

use std::fmt::Write as _;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = std::env::var("CARGO_MANIFEST_DIR")?;
    let folder = Path::new(&root).join("../snapshots/snapshots");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(loss) = name.strip_prefix("loss_").and_then(|n| n.strip_suffix(".snap")) {
            names.push(loss.to_owned());
        }
    }
    names.sort();
    let mut code = "static PINS: &[(&str, &str)] = &[\n".to_owned();
    for loss in names {
        let path = folder.join(format!("loss_{loss}.snap")).canonicalize()?;
        println!("cargo::rerun-if-changed={}", path.display());
        writeln!(code, "({loss:?}, include_str!({:?})),", path.display().to_string())?;
    }
    code.push_str("];\n");
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("pins.rs"), code)?;
    Ok(())
}
