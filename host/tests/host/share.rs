//! A pack from its author's folder to a stranger's training: made, signed, published, found, added, used, locked,
//! taken back, and what happens where somebody meddles with it.

use crate::program::Runs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The author's crate.
fn write_crate(dir: &Path) {
    let put = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let sdk = serde_json::Value::from(root().join("sdk").to_str().unwrap());
    put(
        "Cargo.toml",
        &format!(
            "[package]\nname = \"nearby\"\nversion = \"0.1.0\"\nedition = \"2024\"\ndescription = \"Follows the \
             source nearby.\"\nlicense = \"MIT\"\nauthors = [\"Ada\"]\nreadme = \"README.md\"\n\n[package.metadata.retort]\nauthor \
             = \"ada\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n[dependencies]\nretort-sdk = {{ path = {sdk} }}\n\n[workspace]\n"
        ),
    );
    put("README.md", "# Nearby\n\nFollows \u{1b}[31mthe source.\n");
    put("src/lib.rs", "retort_sdk::losses! {\n    nearby::Nearby,\n}\n");
    put(
        "src/nearby.rs",
        "//! Ada, \"Nearby\", 2026.\n\nuse retort_sdk::prelude::*;\n\nhyper! {\n    /// Cosines as the source has \
         them.\n    ///\n    /// L = w · meanᵢⱼ (cos(tᵢ, tⱼ) - cos(sᵢ, sⱼ))²\n    pub struct Nearby {\n        /// w, \
         weight.\n        omega: f64 = 1.0 => above(0.0),\n    }\n}\n\nimpl Loss for Nearby {\n    fn loss(&self, step: &Step) \
         -> Tensor {\n        let (t, s) = (step.target().normalize(1), step.source().normalize(1));\n        self.omega * \
         (t.matmul(t.t()) - s.matmul(s.t())).square().mean()\n    }\n}\n",
    );
    // The versions that this repository has: no network needed.
    std::fs::copy(root().join("Cargo.lock"), dir.join("Cargo.lock")).unwrap();
}

/// Somebody with a home, in a folder.
struct Person {
    home: PathBuf,
    at: PathBuf,
    registry: PathBuf,
}

impl Runs for Person {
    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retort"));
        command.args(args).current_dir(&self.at);
        command.env("RETORT_HOME", &self.home).env("RETORT_CACHE", self.home.join("cache"));
        command.env("RETORT_REGISTRY", &self.registry);
        command.output().unwrap()
    }
}

impl Person {
    fn new(dir: &Path, name: &str) -> Self {
        let (home, at) = (dir.join(name).join("home"), dir.join(name).join("work"));
        std::fs::create_dir_all(&home).unwrap();
        std::fs::create_dir_all(&at).unwrap();
        Person { home, at, registry: dir.join("registry") }
    }

    fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(1 | 2)), "{args:?}: {said}");
        assert!(!said.contains('\u{1b}'), "{said:?}");
        said.lines().rfind(|line| line.starts_with("error: ")).unwrap_or(&said).to_owned()
    }

    /// What nobody has added, or noted.
    fn has_nothing(&self) {
        let added = self.json(&["plugin", "verify"]);
        assert_eq!(added["packs"], serde_json::json!([]));
        assert!(
            self.refused(&["loss", "info", "ada/nearby#nearby"]).contains("retort add ada/nearby")
        );
    }
}

fn write_version(dir: &Path, version: &str) {
    let path = dir.join("Cargo.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let at = text.find("version = ").unwrap();
    let end = at + text[at..].find('\n').unwrap();
    let text = format!("{}version = \"{version}\"{}", &text[..at], &text[end..]);
    std::fs::write(path, text).unwrap();
}

#[test]
fn a_pack_travels() {
    let dir = tempfile::tempdir().unwrap();
    let (ada, eve, bob) = (
        Person::new(dir.path(), "ada"),
        Person::new(dir.path(), "eve"),
        Person::new(dir.path(), "bob"),
    );
    let source = ada.at.join("nearby");
    write_crate(&source);

    // Made: the same bytes twice, and all that it says about itself in them.
    let pack = |version: &str, out: &str| {
        write_version(&source, version);
        let out = format!("--out={out}");
        let made = ada.json(&["plugin", "pack", "nearby", "--profile=dev", &out]);
        ada.at.join(made["pack"].as_str().unwrap())
    };
    let first = pack("0.1.0", "packs");
    let bytes = std::fs::read(&first).unwrap();
    let again = std::fs::read(pack("0.1.0", "again")).unwrap();
    assert!(bytes == again, "packing twice gives other bytes");
    let path = first.to_str().unwrap();
    let about = ada.json(&["plugin", "info", path]);
    assert_eq!((&about["name"], &about["version"]), (&"ada/nearby".into(), &"0.1.0".into()));
    assert_eq!(about["about"]["licenses"], "MIT");
    assert!(about["pins"]["nearby"].as_str().unwrap().contains("value.1"));
    assert_eq!(about["card"]["nearby"][0]["verdict"], "holds");
    let shown = ada.ok(&["plugin", "info", path]);
    assert!(shown.contains("# Nearby") && !shown.contains('\u{1b}'), "{shown:?}");
    assert!(
        ada.json(&["loss", "check", path])["ok"].as_bool().unwrap(),
        "a pack is a plugin like any other"
    );

    // Published: signed, once, and never changed.
    assert!(ada.refused(&["plugin", "publish", path]).contains("retort key new"));
    let key = ada.json(&["key", "new", "ada", "--no-password"])["keys"][0].clone();
    let public = key["key"].as_str().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(ada.home.join("keys/ada.key")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    assert!(ada.refused(&["key", "new", "ada", "--no-password"]).contains("already"));
    ada.ok(&["plugin", "publish", path]);
    ada.ok(&["plugin", "publish", path]);
    let found = bob.json(&["plugin", "search", "COSINES", "nearby"]);
    assert_eq!(found["packs"][0]["name"], "ada/nearby");
    assert_eq!(bob.json(&["plugin", "search", "curvature"])["packs"], serde_json::json!([]));

    // Added: by whoever trusts its key.
    bob.has_nothing();
    let unknown = bob.refused(&["add", "ada/nearby"]);
    let line = format!("`retort trust add ada {public}`");
    assert!(
        unknown.contains(&line) && unknown.contains(key["fingerprint"].as_str().unwrap()),
        "{unknown}"
    );
    bob.has_nothing();
    bob.ok(&["trust", "add", "ada", public]);
    let added = bob.json(&["add", "ada/nearby@0.1", "--lock"]);
    assert!(added["numbers"].as_u64().unwrap() >= 4, "{added}");
    assert_eq!(added["numbers"], added["as_published"]);
    let lock = std::fs::read_to_string(bob.at.join("retort.lock")).unwrap();
    assert!(
        lock.contains("ada/nearby") && lock.contains("sha256:") && lock.contains(public),
        "{lock}"
    );

    // Used: wherever a loss is named, and the run keeps its bytes.
    assert_eq!(bob.json(&["loss", "info", "ada/nearby#nearby"])["name"], "nearby");
    let tiny = [
        "--device=cpu",
        "--set=data.classes=8",
        "--set=data.images=6",
        "--width=2",
        "--embedding=4",
        "--epochs=1",
        "--batch=8",
        "--images-per-class=2",
    ];
    bob.ok(&[&["train", "source", "--loss=proxy_anchor", "--out=source"][..], &tiny].concat());
    bob.ok(
        &[
            &[
                "train",
                "target",
                "--source=source",
                "--loss=ada/nearby",
                "--omega=2",
                "--out=target",
            ][..],
            &tiny,
        ]
        .concat(),
    );
    let config = std::fs::read_to_string(bob.at.join("target/config.toml")).unwrap();
    let digest = about["digest"].as_str().unwrap();
    assert!(config.contains("ada/nearby#nearby") && config.contains(digest), "{config}");
    let kept = format!("target/plugins/{}.wasm", digest.trim_start_matches("sha256:"));
    assert_eq!(std::fs::read(bob.at.join(kept)).unwrap(), bytes);

    let second = pack("0.2.0", "packs");
    renew(&ada, &bob, &second);
    meddle(&ada, &eve, &bob, &second);
}

/// A newer version, and what holds to the older one.
fn renew(ada: &Person, bob: &Person, pack: &Path) {
    // A newer version; the lock holds to the older one, which has been taken back since.
    ada.ok(&["plugin", "publish", pack.to_str().unwrap()]);
    ada.ok(&["plugin", "yank", "ada/nearby@0.1.0"]);
    let versions = bob.json(&["plugin", "versions", "ada/nearby"]);
    assert_eq!(versions["versions"][0]["version"], "0.2.0");
    assert_eq!(versions["versions"][1]["yanked"], true);
    let locked = bob.json(&["add", "ada/nearby", "--locked"]);
    assert_eq!(locked["added"]["version"], "0.1.0");
    assert!(bob.refused(&["add", "ada/nearby@0.2", "--locked"]).contains("retort.lock"));
    std::fs::remove_file(bob.at.join("retort.lock")).unwrap();
    assert!(bob.refused(&["add", "ada/nearby@0.1"]).contains("taken back"));
    assert_eq!(bob.json(&["plugin", "update"])["added"]["version"], "0.2.0");
    bob.ok(&["plugin", "verify"]);
    bob.ok(&["plugin", "remove", "ada/nearby"]);
    bob.has_nothing();
}

/// Wrong bytes, a moved version, another's key, an old file under a new name, no signature.
fn meddle(ada: &Person, eve: &Person, bob: &Person, pack: &Path) {
    let folder = ada.registry.join("ada/nearby");
    let file = folder.join("0.2.0.wasm");
    let whole = std::fs::read(&file).unwrap();
    let entry = std::fs::read_to_string(folder.join("0.2.0.toml")).unwrap();
    let restore = || {
        std::fs::write(&file, &whole).unwrap();
        std::fs::write(folder.join("0.2.0.toml"), &entry).unwrap();
    };
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    std::fs::write(&file, &flipped).unwrap();
    let why = bob.refused(&["add", "ada/nearby"]);
    assert!(why.contains("isn't the file that was published"), "{why}");
    // Somebody who can write to the registry makes the digest fit; the signature doesn't.
    let digest = |bytes: &[u8]| retort_host::plugin::digest(bytes);
    let forged = entry.replace(&digest(&whole), &digest(&flipped));
    std::fs::write(folder.join("0.2.0.toml"), &forged).unwrap();
    let why = bob.refused(&["add", "ada/nearby"]);
    assert!(why.contains("damaged") || why.contains("isn't of these bytes"), "{why}");
    bob.has_nothing();
    restore();
    // An old version under a new number.
    for end in ["wasm", "wasm.minisig", "toml"] {
        std::fs::copy(folder.join(format!("0.1.0.{end}")), folder.join(format!("0.3.0.{end}")))
            .unwrap();
    }
    let toml = std::fs::read_to_string(folder.join("0.3.0.toml")).unwrap();
    let toml = toml.replace("0.1.0", "0.3.0").replace("yanked = true", "yanked = false");
    std::fs::write(folder.join("0.3.0.toml"), toml).unwrap();
    let why = bob.refused(&["add", "ada/nearby"]);
    assert!(why.contains("says that it is ada/nearby 0.1.0"), "{why}");
    for end in ["wasm", "wasm.minisig", "toml"] {
        std::fs::remove_file(folder.join(format!("0.3.0.{end}"))).unwrap();
    }
    // Eve signs Ada's pack with a key of her own.
    eve.ok(&["key", "new", "eve", "--no-password"]);
    let eves = eve.registry.with_file_name("eves");
    eve.ok(&["plugin", "publish", pack.to_str().unwrap(), "--registry", eves.to_str().unwrap()]);
    let why = bob.refused(&["add", "ada/nearby", "--registry", eves.to_str().unwrap()]);
    assert!(why.contains("THE KEY OF ada HAS CHANGED"), "{why}");
    // Nobody signs it.
    let bare = eve.registry.with_file_name("bare");
    let bare = bare.to_str().unwrap();
    eve.ok(&["plugin", "publish", pack.to_str().unwrap(), "--unsigned", "--registry", bare]);
    let why = bob.refused(&["add", "ada/nearby", "--registry", bare, "--allow-unsigned"]);
    assert!(why.contains("isn't signed, and you trust a key of ada"), "{why}");
    assert!(eve.refused(&["add", "ada/nearby", "--registry", bare]).contains("--allow-unsigned"));
    let added = eve.json(&["add", "ada/nearby", "--registry", bare, "--allow-unsigned"]);
    assert!(added["added"]["key"].is_null());
    // The other version under the same number.
    std::fs::write(&file, &flipped).unwrap();
    std::fs::write(folder.join("0.2.0.toml"), forged).unwrap();
    let why = eve.refused(&["add", "ada/nearby"]);
    assert!(why.contains("A version never changes"), "{why}");
    restore();
    // What was added is written to afterwards.
    bob.ok(&["add", "ada/nearby"]);
    let stored = bob.home.join("cache/packs").join(digest(&whole).trim_start_matches("sha256:"));
    std::fs::write(stored.with_extension("wasm"), &flipped).unwrap();
    let why = bob.refused(&["plugin", "verify"]);
    assert!(why.contains("has changed since it was added"), "{why}");
    // It hides nothing else.
    let listed = bob.json(&["plugin", "list"]);
    assert_eq!(listed["packs"].as_array().unwrap().len(), 1);
    assert!(!bob.run(&["loss", "info", "ada/nearby#nearby"]).status.success());
    // Files that say anything.
    for (text, part) in [
        ("name = \"../../x\"\n", "0.2.0.toml"),
        ("\u{1b}[2J = 1\n", "0.2.0.toml"),
        (&*entry.replace("0.2.0", "9.9.9"), "it says that it is ada/nearby 9.9.9"),
    ] {
        std::fs::write(folder.join("0.2.0.toml"), text).unwrap();
        let why = bob.refused(&["plugin", "versions", "ada/nearby"]);
        assert!(why.contains(part), "{why}");
    }
    restore();
}

#[test]
fn what_is_no_pack_is_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    let bob = Person::new(dir.path(), "bob");
    for (args, part) in [
        (&["add", "nearby"][..], "isn't AUTHOR/PACK"),
        (&["add", "Ada/nearby"], "can't be the name of an author"),
        (&["add", "ada/nearby@one"], "no version can be so"),
        (&["add", "ada/nearby"], "has no pack ada/nearby"),
        (&["add", "ada/nearby", "--locked"], "there is no retort.lock here"),
        (&["plugin", "yank", "ada/nearby"], "names no version"),
        (&["plugin", "yank", "ada/nearby@1.0.0"], "has no ada/nearby 1.0.0"),
        (&["plugin", "remove", "ada/nearby"], "isn't added"),
        (&["plugin", "versions", "ada/nearby"], "has no pack"),
        (&["plugin", "publish", "nothing.wasm", "--unsigned"], "nothing.wasm"),
        (&["plugin", "pack", "."], "no Cargo.toml"),
        (&["trust", "add", "ada", "RWnothing"], "isn't a public key"),
        (&["trust", "remove", "ada"], "no such key"),
        (&["loss", "info", "ada/nearby#x"], "isn't added yet: `retort add ada/nearby`"),
        (&["train", "source", "--loss=ada/nearby#x"], "isn't added yet"),
        (&["plugin", "info", "ada/nearby"], "isn't added yet"),
    ] {
        let why = bob.refused(args);
        assert!(why.contains(part), "{args:?}: no {part:?} in {why}");
    }
}

#[test]
fn a_new_pack_builds_checks_and_packs_at_once_without_a_clone() {
    let dir = tempfile::tempdir().unwrap();
    let ada = Person::new(dir.path(), "ada");
    ada.ok(&["plugin", "new", "my_loss", "--author=ada"]);
    let folder = ada.at.join("my_loss");
    // The versions that this repository has: no network needed.
    std::fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let made = ada.json(&["plugin", "pack", "my_loss", "--profile=dev", "--out=packs"]);
    assert_eq!((&made["name"], &made["losses"][0]), (&"ada/my_loss".into(), &"my_loss".into()));
    let pack = made["pack"].as_str().unwrap();
    let about = ada.json(&["plugin", "info", pack]);
    assert!(about["readme"].as_str().unwrap().contains("retort add ada/my_loss"));
    // Nothing of this machine is in it.
    let bytes = std::fs::read(ada.at.join(pack)).unwrap();
    let home = dir.path().to_str().unwrap().as_bytes();
    assert!(
        !bytes.windows(home.len()).any(|window| window == home),
        "the pack names a folder of its builder"
    );
    // Cargo alone finds the SDK, too, as an editor does.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut metadata = Command::new(cargo);
    let output = metadata
        .args(["metadata", "--format-version=1", "--offline"])
        .current_dir(&folder)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (args, part) in [
        (&["plugin", "new", "my_loss"][..], "is there already"),
        (&["plugin", "new", "My-Loss"], "can't be the name of a loss"),
        (&["plugin", "new", "other", "--author=A B"], "can't be the name of an author"),
    ] {
        assert!(ada.refused(args).contains(part), "{args:?}");
    }
}
