//! Registries of the OCI and indexes over HTTP, against a server on the loopback that does what real ones do, and what
//! they shouldn't. `.ci/registry` walks through a real one.

use crate::program::Runs;
use crate::server::{Answer, Asked, Server};
use base64::Engine as _;
use retort_host::plugin::digest;
use retort_host::share::about::About;
use retort_sdk::schema;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The least component, with a README that makes it long: nothing of it runs.
fn pack(version: &str) -> Vec<u8> {
    let mut state = 1u32;
    let noise = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (state >> 24) as u8 % 26)
    };
    let loss = json!({"name": "follow", "doc": "Follows the source.", "hyper": []});
    let about = About {
        name: "ada/follow".parse().unwrap(),
        version: version.parse().unwrap(),
        texts: BTreeMap::from([
            ("description", "Bends.".to_owned()),
            ("licenses", "MIT".to_owned()),
        ]),
        readme: (0..200_000).map(noise).collect(),
        pins: BTreeMap::new(),
        card: json!({"follow": [{"property": "gradient", "verdict": "holds", "detail": ""}]}),
        losses: schema::Pack {
            interface: 1,
            sdk: "by hand".to_owned(),
            losses: vec![serde_json::from_value(loss).unwrap()],
        },
    };
    about.put_into(b"\0asm\x0d\0\x01\0").unwrap()
}

const PASSWORD: &str = "only-ada-knows-it";

/// Somebody with a home, in a folder.
struct Person {
    at: PathBuf,
    registry: String,
    logged_in: bool,
}

impl Runs for Person {
    fn run(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().unwrap();
        let all = [&output.stdout[..], &output.stderr].concat();
        assert!(!String::from_utf8_lossy(&all).contains(PASSWORD), "{args:?} says the password");
        output
    }
}

impl Person {
    fn new(dir: &Path, name: &str, registry: &str) -> Self {
        let at = dir.join(name);
        std::fs::create_dir_all(&at).unwrap();
        Person { at, registry: registry.to_owned(), logged_in: false }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retort"));
        command.args(args).current_dir(&self.at);
        command.env("RETORT_HOME", self.at.join("home")).env("RETORT_CACHE", self.at.join("cache"));
        command.env("RETORT_REGISTRY", &self.registry);
        for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(proxy).env_remove(proxy.to_uppercase());
        }
        if self.logged_in {
            command.env("RETORT_REGISTRY_USER", "ada").env("RETORT_REGISTRY_PASSWORD", PASSWORD);
        }
        command
    }

    /// The one sentence with which something is refused.
    fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(1 | 2)), "{args:?}: {said}");
        let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{said}");
        errors[0].to_owned()
    }

    /// Makes a pack's file and publishes it.
    fn publish(&self, version: &str) -> Vec<u8> {
        let bytes = pack(version);
        let file = self.at.join(format!("{version}.wasm"));
        std::fs::write(&file, &bytes).unwrap();
        self.ok(&["plugin", "publish", file.to_str().unwrap()]);
        bytes
    }

    fn has_nothing(&self) {
        assert_eq!(self.json(&["plugin", "verify"])["packs"], json!([]));
    }
}

/// What a registry holds.
#[derive(Default)]
struct Held {
    blobs: Mutex<HashMap<String, Vec<u8>>>,
    /// By repository and tag.
    manifests: Mutex<BTreeMap<(String, String), Vec<u8>>>,
}

impl Held {
    /// What a registry of the OCI answers, one tag a page.
    fn answer(&self, asked: &Asked) -> Answer {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let none = || {
            Answer::new("404 Not Found", r#"{"errors":[{"code":"UNKNOWN","message":"not here"}]}"#)
        };
        let Some(rest) = path.strip_prefix("/v2/") else { return none() };
        let json = |value: Value| Answer::new("200 OK", value.to_string());
        if rest == "_catalog" {
            let all = self.manifests.lock().unwrap();
            let names: std::collections::BTreeSet<&String> =
                all.keys().map(|(name, _)| name).collect();
            return json(json!({"repositories": names}));
        }
        let parts: Vec<&str> = rest.split('/').collect();
        match (asked.method.as_str(), parts.as_slice()) {
            ("GET", [repository @ .., "tags", "list"]) => {
                let repository = repository.join("/");
                let all = self.manifests.lock().unwrap();
                let last = query.split('&').find_map(|q| q.strip_prefix("last=")).unwrap_or("");
                let mut tags =
                    all.keys().filter(|(name, tag)| *name == repository && tag.as_str() > last);
                let Some((_, tag)) = tags.next() else { return none() };
                let page = json(json!({"name": repository, "tags": [tag]}));
                if tags.next().is_none() {
                    return page;
                }
                page.with("Link", &format!("<{path}?n=1&last={tag}>; rel=\"next\""))
            }
            ("GET", [repository @ .., "manifests", tag]) => {
                let all = self.manifests.lock().unwrap();
                match all.get(&(repository.join("/"), (*tag).to_owned())) {
                    Some(bytes) => Answer::new("200 OK", bytes.as_slice()),
                    None => none(),
                }
            }
            ("PUT", [repository @ .., "manifests", tag]) => {
                let key = (repository.join("/"), (*tag).to_owned());
                self.manifests.lock().unwrap().insert(key, asked.body.clone());
                Answer::new("201 Created", "")
            }
            ("GET" | "HEAD", [.., "blobs", digest]) => {
                match self.blobs.lock().unwrap().get(*digest) {
                    Some(bytes) => Answer::file(asked, bytes),
                    None => none(),
                }
            }
            ("POST", [.., "blobs", "uploads", ""]) => {
                Answer::new("202 Accepted", "").with("Location", &format!("{path}one?state=x"))
            }
            ("PUT", [.., "uploads", "one"]) => {
                let named = query.split('&').find_map(|q| q.strip_prefix("digest=")).unwrap();
                let found = digest(&asked.body);
                assert_eq!(named.replace("%3A", ":"), found);
                self.blobs.lock().unwrap().insert(found, asked.body.clone());
                Answer::new("201 Created", "")
            }
            _ => none(),
        }
    }
}

/// A registry that anybody may use, with what was published by Ada, and Bob, who trusts her.
fn published(
    dir: &Path,
    answer: impl Fn(&Held, &Asked) -> Answer + Send + Sync + 'static,
) -> (Arc<Held>, Server, Person, Person) {
    let held = Arc::new(Held::default());
    let of = held.clone();
    let server = Server::start(move |asked| answer(&of, asked));
    let registry = format!("oci+http://{}/losses", server.host);
    let ada = Person::new(dir, "ada", &registry);
    let bob = Person::new(dir, "bob", &registry);
    let key = ada.json(&["key", "new", "ada", "--no-password"])["keys"][0]["key"].clone();
    bob.ok(&["trust", "add", "ada", key.as_str().unwrap()]);
    (held, server, ada, bob)
}

#[test]
fn a_registry_that_wants_tokens_is_told_who_one_is_and_nobody_else_is() {
    let dir = tempfile::tempdir().unwrap();
    // Ada's password is good for a token of what was asked for; nobody's token opens nothing.
    let other = Server::start(|asked| Answer::new("200 OK", asked.path.clone()));
    let elsewhere = other.host.clone();
    let blobs: Arc<Mutex<HashMap<String, Vec<u8>>>> = Arc::default();
    let kept = blobs.clone();
    let storage = Server::start(move |asked| {
        let digest = asked.path.trim_start_matches('/');
        Answer::file(asked, kept.lock().unwrap().get(digest).unwrap())
    });
    let at = storage.host.clone();
    let (held, server, mut ada, mut bob) = published(dir.path(), move |held, asked| {
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("ada:{PASSWORD}"));
        if let Some(query) = asked.path.strip_prefix("/token?") {
            assert!(query.contains("service=packs"), "{query}");
            return match asked.header("authorization") {
                "" => Answer::new("200 OK", r#"{"token":"nobodys"}"#),
                said if said == format!("Basic {basic}") => {
                    let right = if query.contains("push") { "may-push" } else { "may-pull" };
                    Answer::new("200 OK", format!(r#"{{"access_token":"{right}"}}"#))
                }
                _ => Answer::new("401 Unauthorized", ""),
            };
        }
        let pushes = asked.method != "GET" && asked.method != "HEAD";
        let said = asked.header("authorization");
        if !(said == "Bearer may-push" || !pushes && said == "Bearer may-pull") {
            let scope = if pushes { "pull,push" } else { "pull" };
            let realm = format!("http://{}/token", asked.header("host"));
            let how = format!(
                r#"Bearer realm="{realm}",service="packs",scope="repository:losses/ada/follow:{scope}""#
            );
            return Answer::new("401 Unauthorized", "").with("WWW-Authenticate", &how);
        }
        // Blobs lie elsewhere, as with many registries.
        if asked.method == "GET" && asked.path.contains("/blobs/") {
            let digest = asked.path.rsplit('/').next().unwrap();
            let to = format!("http://{at}/{digest}");
            return Answer::new("307 Temporary Redirect", "").with("Location", &to);
        }
        held.answer(asked)
    });
    let file = ada.at.join("first.wasm");
    std::fs::write(&file, pack("0.1.0")).unwrap();
    let why = ada.refused(&["plugin", "publish", file.to_str().unwrap()]);
    assert!(
        why.contains("doesn't know who you are") && why.contains("retort plugin login"),
        "{why}"
    );
    (ada.logged_in, bob.logged_in) = (true, true);
    for version in ["0.9.0", "0.10.0", "0.2.0+build.7"] {
        ada.publish(version);
    }
    *blobs.lock().unwrap() = held.blobs.lock().unwrap().clone();
    // Tags come one a page; the newest is first by its numbers, and notes of other kinds are no versions.
    ada.ok(&["plugin", "yank", "ada/follow@0.10.0"]);
    let versions = bob.json(&["plugin", "versions", "ada/follow"]);
    let numbers: Vec<&str> = versions["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["version"].as_str().unwrap())
        .collect();
    assert_eq!(numbers, ["0.10.0", "0.9.0", "0.2.0+build.7"]);
    assert_eq!(versions["versions"][0]["yanked"], true);
    assert_eq!(versions["versions"][1]["loss"][0]["checks"]["gradient"], "holds");
    *blobs.lock().unwrap() = held.blobs.lock().unwrap().clone();
    let added = bob.json(&["add", "ada/follow"]);
    assert_eq!(added["added"]["version"], "0.9.0");
    assert_eq!(bob.json(&["plugin", "search", "bends"])["packs"][0]["name"], "ada/follow");
    ada.ok(&["plugin", "yank", "ada/follow@0.10.0", "--undo"]);
    *blobs.lock().unwrap() = held.blobs.lock().unwrap().clone();
    assert_eq!(bob.json(&["plugin", "update"])["added"]["version"], "0.10.0");

    // The password went to whoever gives out tokens, tokens to the registry, and nothing to where blobs lie.
    for asked in server.asked() {
        let said = asked.header("authorization");
        assert!(
            said.is_empty() || said.starts_with("Basic") == asked.path.starts_with("/token"),
            "{asked:?}"
        );
    }
    assert!(!storage.asked().is_empty());
    assert!(storage.asked().iter().all(|asked| asked.header("authorization").is_empty()));
    // An index that names another registry doesn't get the login that stands in the environment.
    let index = format!("format = 1\nregistry = \"oci+http://{elsewhere}\"\n");
    let site = Server::start(move |_| Answer::new("200 OK", index.clone()));
    bob.registry = format!("http://{}/index", site.host);
    let why = bob.refused(&["add", "ada/follow@0.9"]);
    assert!(why.contains("has no pack ada/follow"), "{why}");
    assert!(other.asked().iter().all(|asked| asked.header("authorization").is_empty()));
    // It lies as other tools expect it.
    let manifests = held.manifests.lock().unwrap();
    let manifest = &manifests[&("losses/ada/follow".to_owned(), "0.2.0_build.7".to_owned())];
    let manifest: Value = serde_json::from_slice(manifest).unwrap();
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(manifest["layers"][0]["digest"], digest(&pack("0.2.0+build.7")));
    let said =
        |key: &str| manifest["annotations"][format!("org.opencontainers.image.{key}")].clone();
    assert_eq!((said("version"), said("licenses")), ("0.2.0+build.7".into(), "MIT".into()));
    let blobs = held.blobs.lock().unwrap();
    let config: Value =
        serde_json::from_slice(&blobs[manifest["config"]["digest"].as_str().unwrap()]).unwrap();
    assert_eq!((&config["architecture"], &config["os"]), (&"wasm".into(), &"wasip2".into()));
    assert_eq!(config["layerDigests"], json!([manifest["layers"][0]["digest"]]));
    assert!(config["component"]["imports"].is_array() && config["created"].is_string());
}

fn is_pack(asked: &Asked, size: usize) -> bool {
    asked.method == "GET" && asked.path.contains("/blobs/") && size > 100_000
}

/// Waits until a process has written so many bytes of a download.
fn wait_for_part(person: &Person, bytes: u64) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        let parts = std::fs::read_dir(person.at.join("cache/packs/downloads"));
        let mut parts = parts.into_iter().flatten().map(|d| d.unwrap().path().join("pack.part"));
        if parts.any(|part| std::fs::metadata(part).is_ok_and(|m| m.len() >= bytes)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("nothing is downloaded");
}

fn quietly(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_download_that_is_killed_leaves_nothing_and_goes_on_where_it_stopped() {
    for knows_ranges in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let tries = AtomicUsize::new(0);
        let (_, server, ada, bob) = published(dir.path(), move |held, asked| {
            let mut asked = asked.clone();
            if !knows_ranges {
                asked.headers.remove("range");
            }
            let answer = held.answer(&asked);
            if is_pack(&asked, answer.body.len()) && tries.fetch_add(1, Ordering::Relaxed) == 0 {
                return Answer { cut: Some((100_000, Duration::from_mins(1))), ..answer };
            }
            answer
        });
        let bytes = ada.publish("0.1.0");
        let mut child = quietly(&mut bob.command(&["add", "ada/follow"]));
        wait_for_part(&bob, 100_000);
        child.kill().unwrap();
        child.wait().unwrap();
        bob.has_nothing();
        assert!(!bob.at.join("home/packs.toml").exists());
        bob.ok(&["add", "ada/follow"]);
        let stored = bob.at.join("cache/packs").join(digest(&bytes).trim_start_matches("sha256:"));
        assert!(std::fs::read(stored.with_extension("wasm")).unwrap() == bytes);
        assert_eq!(std::fs::read_dir(bob.at.join("cache/packs/downloads")).unwrap().count(), 0);
        let path = format!("/v2/losses/ada/follow/blobs/{}", digest(&bytes));
        let asked: Vec<Asked> = server.asked();
        let asked = asked.iter().filter(|a| a.method == "GET" && a.path == path);
        let ranges: Vec<&str> = asked.map(|asked| asked.header("range")).collect();
        assert_eq!(ranges, ["", "bytes=100000-"]);
    }
}

#[test]
fn two_at_once_download_once_and_both_have_it() {
    let dir = tempfile::tempdir().unwrap();
    let (_, server, ada, bob) = published(dir.path(), move |held, asked| {
        let answer = held.answer(asked);
        if is_pack(asked, answer.body.len()) {
            std::thread::sleep(Duration::from_millis(700));
        }
        answer
    });
    let bytes = ada.publish("0.1.0");
    let both: Vec<Child> =
        (0..2).map(|_| quietly(&mut bob.command(&["add", "ada/follow"]))).collect();
    for mut child in both {
        assert!(child.wait().unwrap().success());
    }
    let path = format!("/v2/losses/ada/follow/blobs/{}", digest(&bytes));
    let asked = server.asked().iter().filter(|a| a.method == "GET" && a.path == path).count();
    assert_eq!(asked, 1);
    assert_eq!(bob.json(&["plugin", "verify"])["packs"].as_array().unwrap().len(), 1);
}

#[test]
fn what_a_registry_may_not_do_is_said_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let what: Arc<Mutex<&str>> = Arc::new(Mutex::new(""));
    let does = what.clone();
    let (held, _server, ada, bob) = published(dir.path(), move |held, asked| {
        let answer = held.answer(asked);
        let does = *does.lock().unwrap();
        let pack = is_pack(asked, answer.body.len());
        let list = asked.path.contains("/tags/list");
        let manifest = asked.path.contains("/manifests/0.1.0");
        let edited = |from: &str, to: &str| {
            let text = String::from_utf8(answer.body.clone()).unwrap();
            assert!(text.contains(from), "{text}");
            Answer::new("200 OK", text.replace(from, to))
        };
        match does {
            "flips" if pack => {
                let mut body = answer.body.clone();
                body[5000] ^= 1;
                Answer::new("200 OK", body)
            }
            "sends more" if pack => Answer::new("200 OK", [&answer.body[..], b"more"].concat()),
            "never ends" if list => answer.with("Link", &format!("<{}>; rel=\"next\"", asked.path)),
            "claims" if manifest => edited("\"size\":20", "\"size\":90000000000020"),
            "is a page" if manifest => Answer::new("200 OK", "<html>\u{1b}[2JWelcome"),
            "breaks" if manifest => Answer::new("500 Internal Server Error", "oh\u{1b}[2J"),
            "wants more" if manifest => Answer::new("401 Unauthorized", "").with(
                "WWW-Authenticate",
                "Bearer realm=\"http://tokens.example/token\",service=\"x\"",
            ),
            "isn't signed" if asked.path.contains(".sig") => Answer::new("404 Not Found", ""),
            _ => answer,
        }
    });
    let bytes = ada.publish("0.1.0");
    for (does, part) in [
        ("flips", "isn't the file that was published"),
        ("sends more", "has 200"),
        ("never ends", "the list has no end"),
        ("claims", "it wasn't downloaded"),
        ("is a page", "ada/follow:0.1.0: expected value"),
        ("breaks", "it answers 500 Internal Server Error"),
        ("wants more", "over plain HTTP"),
        ("isn't signed", "isn't signed, and you trust a key of ada"),
    ] {
        *what.lock().unwrap() = does;
        // What was downloaded before is no excuse.
        let _ = std::fs::remove_dir_all(bob.at.join("cache"));
        let why = bob.refused(&["add", "ada/follow"]);
        assert!(why.contains(part) && !why.contains('\u{1b}'), "{does}: no {part:?} in {why}");
        bob.has_nothing();
    }
    *what.lock().unwrap() = "";
    bob.ok(&["add", "ada/follow", "--lock"]);
    // Other bytes under the same version, from whoever may write there.
    let other = ada.at.join("other.wasm");
    std::fs::write(
        &other,
        pack("0.1.0").iter().map(|b| if *b == b'q' { b'r' } else { *b }).collect::<Vec<_>>(),
    )
    .unwrap();
    let why = ada.refused(&["plugin", "publish", other.to_str().unwrap()]);
    assert!(why.contains("is published already, with other bytes"), "{why}");
    held.manifests.lock().unwrap().retain(|(_, tag), _| tag != "0.1.0");
    ada.ok(&["plugin", "publish", other.to_str().unwrap()]);
    let why = bob.refused(&["add", "ada/follow"]);
    assert!(why.contains("A version never changes") && why.contains(&digest(&bytes)), "{why}");
    std::fs::remove_file(bob.at.join("retort.lock")).unwrap();
    assert!(bob.refused(&["add", "ada/follow"]).contains("A version never changes"));
}

#[test]
fn an_index_is_read_from_a_site_and_leads_to_packs_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("registry");
    let ada = Person::new(dir.path(), "ada", folder.to_str().unwrap());
    let key = ada.json(&["key", "new", "ada", "--no-password"])["keys"][0]["key"].clone();
    let bytes = ada.publish("0.1.0");
    // A loss that can't run is in no index.
    let out = dir.path().join("out");
    let why = ada.run(&["index", "build", "--out", out.to_str().unwrap()]);
    let why = String::from_utf8_lossy(&why.stderr).into_owned();
    assert!(why.contains("left out of the index") && why.contains("ada/follow 0.1.0: "), "{why}");
    let index = std::fs::read_to_string(out.join("index.toml")).unwrap();
    assert!(!index.contains("follow"), "{index}");
    // One by hand, as a site has it.
    let entry: toml::Table =
        toml::from_str(&std::fs::read_to_string(folder.join("ada/follow/0.1.0.toml")).unwrap())
            .unwrap();
    let form = Arc::new(Mutex::new(1));
    let (now, root) = (form.clone(), folder.clone());
    let site = Server::start(move |asked| {
        let index = toml::toml! { format = 1 };
        let mut index = index;
        index.insert("format".to_owned(), toml::Value::Integer(*now.lock().unwrap()));
        index.insert("pack".to_owned(), toml::Value::Array(vec![entry.clone().into()]));
        match asked.path.strip_prefix("/packs/") {
            Some("index.toml") => Answer::new("200 OK", index.to_string()),
            Some(path) => match std::fs::read(root.join(path)) {
                Ok(bytes) => Answer::file(asked, &bytes),
                Err(_) => Answer::new("404 Not Found", ""),
            },
            None => Answer::new("404 Not Found", ""),
        }
    });
    let address = format!("http://{}/packs/", site.host);
    let bob = Person::new(dir.path(), "bob", &address);
    assert_eq!(bob.json(&["plugin", "search", "bends"])["packs"][0]["name"], "ada/follow");
    assert!(bob.refused(&["add", "ada/follow"]).contains("retort trust add ada"));
    bob.ok(&["trust", "add", "ada", key.as_str().unwrap()]);
    bob.ok(&["add", "ada/follow"]);
    let stored = bob.at.join("cache/packs").join(digest(&bytes).trim_start_matches("sha256:"));
    assert!(std::fs::read(stored.with_extension("wasm")).unwrap() == bytes);
    assert!(bob.refused(&["plugin", "yank", "ada/follow@0.1.0"]).contains("is an index"));
    // A byte of the site's pack is flipped.
    let file = folder.join("ada/follow/0.1.0.wasm");
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    std::fs::write(&file, flipped).unwrap();
    std::fs::remove_dir_all(bob.at.join("cache")).unwrap();
    let why = bob.refused(&["add", "ada/follow"]);
    assert!(why.contains("isn't the file that was published"), "{why}");
    *form.lock().unwrap() = 2;
    assert!(bob.refused(&["plugin", "search"]).contains("an index of form 2"));
    for (registry, part) in [
        (format!("http://{}/elsewhere", site.host), "is no index: it has no index.toml"),
        ("http://127.0.0.1:9".to_owned(), "can't reach http://127.0.0.1:9/index.toml"),
        ("oci+http://127.0.0.1:9".to_owned(), "can't reach http://127.0.0.1:9"),
        ("ftp://packs.example".to_owned(), "ftp:// is no registry"),
        ("oci://".to_owned(), "names no host"),
        ("oci://ada:secret@packs.example".to_owned(), "has no place in it"),
        ("oci://packs.example/../x".to_owned(), "its path has other characters"),
    ] {
        let why = bob.refused(&["plugin", "search", "--registry", &registry]);
        assert!(why.contains(part), "{registry}: no {part:?} in {why}");
    }
}

#[test]
fn a_login_is_for_its_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(|asked| {
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("ada:{PASSWORD}"));
        if asked.header("authorization") == format!("Basic {basic}") {
            return Answer::new("200 OK", "{}");
        }
        Answer::new("401 Unauthorized", "").with("WWW-Authenticate", "Basic realm=\"packs\"")
    });
    let registry = format!("oci+http://{}", server.host);
    let ada = Person::new(dir.path(), "ada", &registry);
    let login = |args: &[&str], said: &str| {
        std::fs::write(ada.at.join("said"), said).unwrap();
        let mut command = ada.command(&[&["plugin", "login"], args].concat());
        let said = std::fs::File::open(ada.at.join("said")).unwrap();
        let output = command.stdin(said).output().unwrap();
        let text =
            String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
        assert!(!text.contains(PASSWORD) && !text.contains("wrong-one"), "{text}");
        (output.status.success(), text)
    };
    let file = ada.at.join("home/logins.toml");
    let (ok, text) = login(&[&registry, "--user=ada"], "wrong-one\n");
    assert!(!ok && text.contains("doesn't know who you are"), "{text}");
    assert!(!std::fs::read_to_string(&file).unwrap().contains("wrong-one"));
    let (ok, text) = login(&[&registry, "--user=ada"], &format!("{PASSWORD}\n"));
    assert!(ok && text.contains("knows you"), "{text}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // A wrong one doesn't push out the right one.
    assert!(!login(&[&registry, "--user=ada"], "wrong-one").0);
    assert!(std::fs::read_to_string(&file).unwrap().contains(PASSWORD));
    for (args, said, part) in [
        (&["oci+http://packs.example", "--user=ada"][..], "x", "plain HTTP"),
        (&["http://packs.example", "--user=ada"], "x", "plain HTTP"),
        (&["registry", "--user=ada"], "x", "takes no logins"),
        (&["oci://packs.example"], "x", "say who you are"),
        (&["oci://packs.example", "--user=a:b"], "x", "has a colon"),
        (&["oci://packs.example", "--user=ada"], "\n", "is empty"),
        (&["oci://packs.example", "--user=ada", "--certificate=said"], "x", "no certificate"),
    ] {
        let (ok, text) = login(args, said);
        assert!(!ok && text.contains(part), "{args:?}: no {part:?} in {text}");
    }
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(
        ada.refused(&["plugin", "versions", "ada/x"])
            .contains("others on this machine can read it")
    );
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    ada.ok(&["plugin", "logout", &registry]);
    assert!(ada.refused(&["plugin", "logout", &registry]).contains("no login"));
    assert!(!std::fs::read_to_string(&file).unwrap().contains(PASSWORD));
}
