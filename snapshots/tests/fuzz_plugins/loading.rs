//! Changed descriptions and components through the loader, and one step of what it lets in.

use crate::child::Case;
use burn::tensor::FloatDType;
use rand::seq::{IndexedMutRandom as _, IndexedRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use retort_core::{Limits, Session, Setup, example_batch, guarded};
use retort_host::loss::evaluation::Evaluation;
use retort_host::plugin::{PluginError, component, registry::Found};
use retort_snapshots::corpus::{PACK, wat};
use retort_snapshots::{built, cpu};
use serde_json::{Map, Value, json};
use std::path::Path;

/// What is changed, and what is counted.
pub struct Target {
    folder: tempfile::TempDir,
    /// Components: those made by hand, which are small, and the pack.
    components: Vec<(String, Vec<u8>)>,
    description: Value,
    ran: u64,
    loaded: u64,
    computed: u64,
}

impl Target {
    pub fn new() -> Self {
        // Thousands of functions and endless loops only cost time here.
        let names = wat::names()
            .into_iter()
            .filter(|name| name != "functions" && name != "nested" && !name.ends_with("loops"));
        let mut components: Vec<(String, Vec<u8>)> =
            names.map(|name| (name.clone(), wat::assemble(&name))).collect();
        let pack = std::fs::read(built(PACK).wasm.unwrap()).unwrap();
        components.push((PACK.to_owned(), pack));
        let description = json!({
            "interface": 1, "sdk": "by hand", "losses": [
                {"name": "attack", "doc": "First.\n\nThen.", "paper": "A paper.", "source": "fn f() {}",
                 "hyper": [
                    {"name": "alpha", "doc": "α", "kind": "float", "default": 1.0,
                     "range": {"min": 0.0, "above": true}},
                    {"name": "n", "doc": "n", "kind": "integer", "default": 3, "range": {"max": 9.0}},
                    {"name": "way", "doc": "w", "kind": "choice", "default": "a", "choices": ["a", "b"]},
                    {"name": "on", "doc": "o", "kind": "boolean", "default": true}]},
                {"name": "second", "doc": "Second."}]});
        let folder = tempfile::tempdir().unwrap();
        Target { folder, components, description, ran: 0, loaded: 0, computed: 0 }
    }

    /// A component whose description was changed.
    fn described(&self, rng: &mut ChaCha8Rng) -> Vec<u8> {
        let mut description = self.description.clone();
        for _ in 0..rng.random_range(0..4) {
            change(&mut description, rng);
        }
        let mut bytes = description.to_string().into_bytes();
        if rng.random_bool(0.3) {
            scramble(&mut bytes, rng);
        }
        wat::component(&wat::description(&bytes)).unwrap()
    }

    /// A component whose bytes were changed.
    fn scrambled(&self, rng: &mut ChaCha8Rng) -> Vec<u8> {
        // The pack takes a second to compile where it is still valid.
        let pack = rng.random_bool(0.02);
        let (_, bytes) = match self.components.split_last() {
            Some((last, _)) if pack => last,
            Some((_, rest)) => rest.choose(rng).unwrap(),
            None => unreachable!("there are components"),
        };
        let mut bytes = bytes.clone();
        for _ in 0..rng.random_range(1..4) {
            scramble(&mut bytes, rng);
        }
        bytes
    }

    /// Loads a component, and computes its first loss once.
    fn load(&mut self, path: &Path) -> Result<(), PluginError> {
        let limits = Limits {
            seconds: 0.2,
            host_seconds: 0.5,
            held_bytes: 64 << 20,
            tensor_bytes: 16 << 20,
            handles: 1000,
            ..Limits::default()
        };
        let pack = component::load_cached(path, &limits, None)?;
        self.loaded += 1;
        for definition in pack.description.losses.iter().take(1) {
            let found = Found { pack: pack.clone(), definition: definition.clone() };
            let hyper = found.resolve(&Map::new())?;
            let code = found.create(&hyper, &limits)?;
            let setup =
                Setup { device: cpu(), dtype: FloatDType::F32, seed: 1, limits: limits.clone() };
            let mut session = Session::new(&definition.name, code, setup);
            let evaluation = Evaluation::run(&mut session, &example_batch(&cpu()));
            self.computed += u64::from(evaluation.is_ok());
        }
        Ok(())
    }
}

impl Case for Target {
    fn run(&mut self, seed: u64, number: u64, show: bool) -> Result<(), String> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let bytes =
            if rng.random_bool(0.5) { self.described(&mut rng) } else { self.scrambled(&mut rng) };
        let path = self.folder.path().join("case.wasm");
        std::fs::write(&path, &bytes).unwrap();
        let ended = guarded(|| self.load(&path)).map_err(|why| format!("it panicked: {why}"))?;
        self.ran += 1;
        let message = ended.err().map(|e| e.to_string()).unwrap_or_default();
        if show {
            let kept = std::env::temp_dir().join("retort-fuzz-case.wasm");
            std::fs::write(&kept, &bytes).unwrap();
            println!("{} is the component; {message}", kept.display());
        }
        if message.len() > 8000 {
            return Err(format!("a message of {} bytes", message.len()));
        }
        Ok(())
    }

    fn summary(&self) -> String {
        format!("{} files, {} loaded, {} computed", self.ran, self.loaded, self.computed)
    }

    fn check(&self) -> Result<(), String> {
        if self.computed * 20 >= self.ran {
            Ok(())
        } else {
            Err(format!("nearly nothing gets in any more: {}", self.summary()))
        }
    }
}

const WORDS: [&str; 14] = [
    "",
    "../../x",
    "a/b",
    "\u{1b}[2J",
    "\u{202e}",
    "\0",
    "weight",
    "name",
    "lr_factor",
    "Attack",
    "attack",
    "é",
    "integer",
    "float",
];
const NUMBERS: [f64; 10] = [0.0, -1.0, 0.5, 1e300, -1e300, 1e15, 2.0, 7.0, 65.0, 4_294_967_296.0];

/// Puts something else into a random place of a JSON value.
fn change(value: &mut Value, rng: &mut ChaCha8Rng) {
    let deeper = rng.random_bool(0.85);
    match value {
        Value::Object(map) if deeper && !map.is_empty() => {
            let keys: Vec<String> = map.keys().cloned().collect();
            let key = keys.choose(rng).unwrap().clone();
            match rng.random_range(0..12) {
                0 => drop(map.remove(&key)),
                1 => {
                    let moved = map[&key].clone();
                    map.insert((*WORDS.choose(rng).unwrap()).to_owned(), moved);
                }
                _ => change(&mut map[&key], rng),
            }
        }
        Value::Array(list) if deeper && !list.is_empty() => match rng.random_range(0..6) {
            0 => {
                let again = list.choose(rng).unwrap().clone();
                list.push(again);
            }
            1 => drop(list.pop()),
            _ => change(list.choose_mut(rng).unwrap(), rng),
        },
        _ => {
            *value = match rng.random_range(0..9) {
                0 => Value::Null,
                1 => json!(true),
                2 => json!([]),
                3 => json!({}),
                4 => json!(rng.random::<u64>()),
                5 => json!(NUMBERS.choose(rng).unwrap()),
                6 => json!("long ".repeat(1 << rng.random_range(0..12))),
                _ => json!(WORDS.choose(rng).unwrap()),
            }
        }
    }
}

/// Changes, removes, repeats or puts in some bytes.
fn scramble(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    if bytes.is_empty() {
        return;
    }
    let at = rng.random_range(0..bytes.len());
    let end = (at + rng.random_range(1..16)).min(bytes.len());
    match rng.random_range(0..8) {
        0..=3 => bytes[at] = rng.random(),
        4 => bytes[at] ^= 1 << rng.random_range(0..8),
        5 => drop(bytes.drain(at..end)),
        6 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        _ => bytes.truncate(end),
    }
}
