//! WASM components: sandboxed, with the host's one interface as their only import.

use super::cache::{self, Cache};
use super::{
    Origin, Pack, PackCode, PluginError, check_interface, compile, digest, read_file, short,
};
use retort_core::{Interpreter, Limits, LossCode};
use retort_sdk::abi;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use wasmparser::{Encoding, Parser, Payload};
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine, ResourceLimiter, Store, UpdateDeadline};

mod bindings {
    wasmtime::component::bindgen!({ world: "plugin", path: "../sdk/wit" });
}
use bindings::{Plugin, PluginPre, retort::loss::host::Host};

/// How often a component's deadline is looked at.
const TICK: Duration = Duration::from_millis(10);

/// The one engine of the process, and the thread that moves its epochs on.
pub(super) fn engine() -> Result<&'static Engine, String> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| {
        let mut config = Config::new();
        config.wasm_component_model(true).epoch_interruption(true);
        config.relaxed_simd_deterministic(true).cranelift_nan_canonicalization(true);
        // Where in a component a trap was helps nobody: its own lines do, and the SDK tells them.
        config.generate_address_map(false);
        let engine = Engine::new(&config).map_err(|e| format!("{e:#}"))?;
        let weak = engine.weak();
        let tick = move || {
            while let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
                std::thread::sleep(TICK);
            }
        };
        let thread = std::thread::Builder::new().name("wasm-epochs".to_owned());
        thread.spawn(tick).map_err(|e| format!("can't start the deadline's thread: {e}"))?;
        Ok(engine)
    });
    engine.as_ref().map_err(Clone::clone)
}

/// Loads a component. Nothing in it runs unless it carries an interface number that this host
/// knows and imports nothing but the host's interface.
pub fn load(path: &Path, limits: &Limits) -> Result<Pack, PluginError> {
    load_cached(path, limits, cache::folder().as_deref())
}

/// As [`load`], with compiled components kept in this folder, or nowhere.
pub fn load_cached(
    path: &Path,
    limits: &Limits,
    cache: Option<&Path>,
) -> Result<Pack, PluginError> {
    let path = &std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let not = |why: String| PluginError::NotAPlugin { path: path.clone(), why: short(&why) };
    let bytes = read_file(path, limits.component_bytes, " (limit `component_bytes`)")?;
    // Side by side: each goes through all of a file that may have 18 MB.
    let (interface, digest) = std::thread::scope(|scope| {
        let digest = scope.spawn(|| digest(&bytes));
        (inspect(&bytes), digest.join())
    });
    let interface = interface.map_err(not)?;
    check_interface(path, interface)?;
    let digest = digest.unwrap_or_else(|panic| std::panic::resume_unwind(panic));

    let engine = engine().map_err(not)?;
    let entry = cache::entry(engine, &digest, interface);
    let cache = cache.and_then(Cache::open);
    let kept = cache.as_ref().and_then(|cache| cache.find(&entry));
    let kept = kept.and_then(|file| revive(engine, Compiled::File(&file)).ok());
    let component = if let Some(component) = kept {
        component
    } else {
        let code = compile::compile(path, bytes, limits).map_err(not)?;
        let component =
            revive(engine, Compiled::Bytes(&code)).map_err(|e| not(format!("{e:#}")))?;
        if let Some(cache) = &cache {
            cache.store(&entry, &code);
        }
        component
    };
    let mut linker = Linker::new(engine);
    Plugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |state: &mut State| state)
        .map_err(|e| not(format!("{e:#}")))?;
    let pre = linker
        .instantiate_pre(&component)
        .and_then(PluginPre::new)
        .map_err(|e| not(format!("it doesn't fit the interface retort:loss: {e:#}")))?;
    let code = Code { pre, path: path.clone() };
    let broken = |why: String| PluginError::Broken { path: path.clone(), why: short(&why) };
    let mut running = code.instantiate(limits).map_err(broken)?;
    let description = running.timed(|plugin, store| plugin.call_describe(store)).map_err(broken)?;
    let origin = Origin::Component(path.clone());
    Pack::new(origin, digest, interface, &description, Arc::new(code))
}

/// Machine code of a component.
#[derive(Clone, Copy)]
enum Compiled<'a> {
    /// Compiled now.
    Bytes(&'a [u8]),
    /// An entry of the cache.
    File(&'a Path),
}

/// A component of machine code that this program's compiler made, now or when it was put into the
/// cache.
#[expect(unsafe_code, reason = "machine code that this program made")]
fn revive(engine: &Engine, code: Compiled<'_>) -> wasmtime::Result<Component> {
    // SAFETY: the code comes from `compile`, or from a cache entry with this user's keyed hash, whose file is never
    // written to again.
    unsafe {
        match code {
            Compiled::Bytes(code) => Component::deserialize(engine, code),
            Compiled::File(file) => Component::deserialize_file(engine, file),
        }
    }
}

/// Components and modules in one another, the outermost counted.
const DEPTH: usize = 32;
/// Sections and functions of a component.
const PARTS: usize = 1 << 20;

/// Whether these bytes begin as WebAssembly does: a parser's words about others help nobody.
pub fn is_webassembly(bytes: &[u8]) -> Result<(), String> {
    if bytes.starts_with(b"\0asm") { Ok(()) } else { Err("it isn't WebAssembly".to_owned()) }
}

/// The interface number of a component, read without compiling it.
fn inspect(bytes: &[u8]) -> Result<u32, String> {
    is_webassembly(bytes)?;
    let (mut first, mut found, mut imported) = (true, None, None);
    let mut depth = 0usize;
    for (part, payload) in Parser::new(0).parse_all(bytes).enumerate() {
        let payload = payload.map_err(|e| format!("it is damaged: {e}"))?;
        match &payload {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH {
            return Err(format!("it holds components {DEPTH} deep in one another, or deeper"));
        }
        if part > PARTS {
            return Err(format!("it has more than {PARTS} sections and functions"));
        }
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if first => {
                return Err("it is a core WebAssembly module, not a component; build one with \
                            `retort plugin build --wasm`"
                    .to_owned());
            }
            Payload::Version { .. } => first = false,
            Payload::CustomSection(section) if section.name() == abi::SECTION_WASM => {
                let number = section.data().first_chunk().copied();
                found = Some(u32::from_le_bytes(number.ok_or("its interface section is damaged")?));
            }
            // Those of a component within it are met by the one around it.
            Payload::ComponentImportSection(imports) if depth == 1 => {
                for import in imports.into_iter().flatten() {
                    let name = import.name.name;
                    match name.strip_prefix("retort:loss/host@") {
                        Some(version) => {
                            imported = version.split('.').next().and_then(|v| v.parse().ok());
                        }
                        None => {
                            return Err(format!(
                                "it imports {name}, but the sandbox offers retort:loss/host only"
                            ));
                        }
                    }
                }
            }
            _ => {}
        }
    }
    found.or(imported).ok_or_else(|| {
        "it is a component, but imports no retort:loss/host and carries no interface number; build \
         a pack with `retort plugin build --wasm`"
            .to_owned()
    })
}

/// What a component's calls work on.
struct State {
    step: Option<Box<Interpreter>>,
    limits: Limits,
    memory: usize,
    tables: usize,
    /// What the limits refused, for the message.
    refused: Option<String>,
    started: Instant,
    /// Time that the host's own operations took since `started`.
    in_host: Duration,
}

impl State {
    fn host<T>(&mut self, nothing: T, f: impl FnOnce(&mut Interpreter) -> T) -> T {
        let start = Instant::now();
        let result = self.step.as_deref_mut().map_or(nothing, f);
        self.in_host += start.elapsed();
        result
    }
}

impl Host for State {
    fn call(&mut self, op: u32, args: Vec<u64>, attrs: Vec<f64>, name: String) -> u64 {
        self.host(0, |step| step.call(op, &args, &attrs, &name))
    }

    fn shape(&mut self, tensor: u64) -> Vec<u64> {
        let dims = self.host(vec![1; 4], |step| step.shape(tensor));
        dims.into_iter().map(|d| d as u64).collect()
    }

    fn read(&mut self, tensor: u64) -> Vec<f64> {
        self.host(Vec::new(), |step| step.read(tensor))
    }
}

impl ResourceLimiter for State {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.memory = self.memory.saturating_add(desired.saturating_sub(current));
        if self.memory <= self.limits.memory_bytes {
            return Ok(true);
        }
        let limit = self.limits.memory_bytes;
        let why = format!("it asked for more memory than {limit} bytes (limit `memory_bytes`)");
        self.refused = Some(why.clone());
        Err(wasmtime::Error::msg(why))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.tables = self.tables.saturating_add(desired.saturating_sub(current));
        if self.tables <= self.limits.table_elements {
            return Ok(true);
        }
        let limit = self.limits.table_elements;
        let why = format!("it asked for more than {limit} table elements (limit `table_elements`)");
        self.refused = Some(why.clone());
        Err(wasmtime::Error::msg(why))
    }

    fn instances(&self) -> usize {
        self.limits.instances
    }

    fn tables(&self) -> usize {
        self.limits.instances
    }

    fn memories(&self) -> usize {
        self.limits.instances
    }
}

/// A compiled component.
#[derive(Clone)]
struct Code {
    pre: PluginPre<State>,
    path: PathBuf,
}

impl Code {
    fn instantiate(&self, limits: &Limits) -> Result<Running, String> {
        let state = State {
            step: None,
            limits: limits.clone(),
            memory: 0,
            tables: 0,
            refused: None,
            started: Instant::now(),
            in_host: Duration::ZERO,
        };
        let mut store = Store::new(self.pre.engine(), state);
        store.limiter(|state| state);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            let state = store.data_mut();
            let own = state.started.elapsed().saturating_sub(state.in_host);
            let stop = state.step.as_deref().is_some_and(Interpreter::stop_wanted);
            if own <= state.limits.deadline() && !stop {
                return Ok(UpdateDeadline::Continue(1));
            }
            if stop {
                return Err(wasmtime::Error::msg("the user stopped it"));
            }
            let why = format!(
                "it computed for more than {} seconds (limit `seconds`)",
                state.limits.seconds
            );
            state.refused = Some(why.clone());
            Err(wasmtime::Error::msg(why))
        });
        let plugin = self.pre.instantiate(&mut store);
        let plugin = plugin.map_err(|e| reason(store.data_mut(), &e))?;
        Ok(Running { store, plugin })
    }
}

/// What ended a call, in one line.
fn reason(state: &mut State, error: &wasmtime::Error) -> String {
    match state.refused.take() {
        Some(why) => format!("the plugin was stopped: {why}"),
        None => format!("the plugin trapped: {}", error.root_cause()),
    }
}

impl PackCode for Code {
    fn create(
        &self,
        name: &str,
        hyper: &str,
        limits: &Limits,
    ) -> Result<Box<dyn LossCode>, PluginError> {
        let mut made = Instance {
            code: self.clone(),
            name: name.to_owned(),
            hyper: hyper.to_owned(),
            limits: limits.clone(),
            running: None,
        };
        made.start().map_err(|why| PluginError::Broken { path: self.path.clone(), why })?;
        Ok(Box::new(made))
    }
}

/// A component's instance.
struct Running {
    store: Store<State>,
    plugin: Plugin,
}

impl Running {
    /// Runs a call under the deadline.
    fn timed<T>(
        &mut self,
        call: impl FnOnce(&Plugin, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> Result<T, String> {
        let state = self.store.data_mut();
        (state.started, state.in_host, state.refused) = (Instant::now(), Duration::ZERO, None);
        self.store.set_epoch_deadline(1);
        let result = call(&self.plugin, &mut self.store);
        result.map_err(|e| reason(self.store.data_mut(), &e))
    }
}

/// A loss in a component's instance of its own. After a trap the next step starts a new one: the
/// plugin keeps no state.
struct Instance {
    code: Code,
    name: String,
    hyper: String,
    limits: Limits,
    running: Option<(Running, u32)>,
}

impl Instance {
    fn start(&mut self) -> Result<&mut (Running, u32), String> {
        if self.running.is_none() {
            let mut running = self.code.instantiate(&self.limits)?;
            let number = running
                .timed(|plugin, store| plugin.call_create(store, &self.name, &self.hyper))?
                .map_err(|why| short(&why))?;
            self.running = Some((running, number));
        }
        self.running.as_mut().ok_or_else(|| "the plugin didn't start".to_owned())
    }
}

impl LossCode for Instance {
    fn run(&mut self, step: Box<Interpreter>) -> (Box<Interpreter>, Result<u64, String>) {
        let (running, number) = match self.start() {
            Ok((running, number)) => (running, *number),
            Err(why) => return (step, Err(why)),
        };
        running.store.data_mut().step = Some(step);
        let result = running.timed(|plugin, store| plugin.call_loss(store, number));
        let step = running.store.data_mut().step.take();
        if result.is_err() {
            self.running = None;
        }
        match step {
            Some(step) => (step, result),
            None => unreachable!("the interpreter leaves the store only here"),
        }
    }
}
