//! The SDK's bindings of its WIT world are a committed file, so that no pack compiles their generator.

use retort_snapshots::workspace;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_bindings_are_those_of_the_wit_world() {
    let sdk = workspace().join("sdk");
    let mut generator = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    generator.args(["run", "--quiet", "--locked", "--manifest-path"]);
    generator.arg(sdk.join("bindings/Cargo.toml")).arg("--target-dir");
    generator.arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("bindings")).arg(sdk.join("wit"));
    let output = generator.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    let generated = String::from_utf8(output.stdout).unwrap();

    let path = sdk.join("src/bindings.rs");
    if std::env::var_os("RETORT_GENERATE").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    let how = "sdk/src/bindings.rs is out of date: run this test with RETORT_GENERATE=1";
    assert!(committed == generated, "{how}");
}
