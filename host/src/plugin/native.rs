//! Native libraries, and the pack that is linked in: both through the same C tables.
#![expect(unsafe_code, reason = "the plugin boundary")]

use super::{Origin, Pack, PackCode, PluginError, check_interface, digest, read_file, short};
use object::{Object as _, ObjectSection as _};
use retort_core::{Interpreter, Limits, LossCode};
use retort_sdk::abi::{self, HostTable, PluginTable};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The pack of retort's own losses.
pub fn builtin() -> Result<Pack, PluginError> {
    linked(&retort_plugins::TABLE)
}

/// A pack that is linked in.
pub fn linked(table: &'static PluginTable) -> Result<Pack, PluginError> {
    let code = Table { table, file: "the pack linked in".into() };
    let description = code.describe();
    let digest = digest(description.as_bytes());
    Pack::new(Origin::BuiltIn, digest, code.table.abi, &description, Arc::new(code))
}

/// Bytes of a native library.
const BYTES: u64 = 1 << 30;

/// Loads a native library, which stays loaded until the process ends. Nothing in it runs unless it
/// carries an interface number that this host knows; then it runs with all rights of the user, and
/// nothing that it does is held back.
pub fn load(path: &Path) -> Result<Pack, PluginError> {
    let path = &std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let not = |why: String| PluginError::NotAPlugin { path: path.clone(), why };
    let bytes = read_file(path, BYTES, "")?;
    let interface = interface(&bytes).map_err(not)?;
    check_interface(path, interface)?;

    // SAFETY: loading runs the library's initialisers; the user has named it as a plugin.
    let library = unsafe { libloading::Library::new(path) }
        .map_err(|e| not(format!("the system can't load it: {e}")))?;
    let library: &'static libloading::Library = Box::leak(Box::new(library));
    // SAFETY: the stamp says that the library exports this function with this type.
    let table = unsafe {
        let entry = library
            .get::<abi::Entry>(abi::ENTRY)
            .map_err(|e| not(format!("it has no function {}: {e}", abi::ENTRY)))?;
        entry().as_ref()
    };
    let table = table.ok_or_else(|| not("its table is null".to_owned()))?;
    if table.abi != interface {
        let found = table.abi;
        return Err(not(format!("its table says interface {found}, its section {interface}")));
    }
    if (table.size as usize) < abi::PLUGIN_TABLE_1 {
        return Err(not(format!("its table has {} bytes, too few for its interface", table.size)));
    }
    let code = Table { table, file: path.clone() };
    let description = code.describe();
    let origin = Origin::Native(path.clone());
    Pack::new(origin, digest(&bytes), interface, &description, Arc::new(code))
}

/// The interface number in a library's section, read without loading it.
fn interface(bytes: &[u8]) -> Result<u32, String> {
    let file = object::File::parse(bytes)
        .map_err(|e| format!("it is no native library of this system ({e})"))?;
    let section = file.section_by_name(abi::SECTION_NATIVE);
    let data = section.and_then(|s| s.data().ok()).unwrap_or_default();
    match data.split_first_chunk::<12>() {
        Some((&abi::STAMP, [a, b, c, d, ..])) => Ok(u32::from_le_bytes([*a, *b, *c, *d])),
        _ => {
            Err("it is a native library without the stamp of the losses! macro; build a pack with \
                  `retort plugin build`"
                .to_owned())
        }
    }
}

/// A pack behind a C table.
struct Table {
    table: &'static PluginTable,
    file: std::path::PathBuf,
}

impl Table {
    fn describe(&self) -> String {
        let mut text = Vec::new();
        // SAFETY: the table follows its interface; the sink appends to `text`.
        unsafe { (self.table.describe)(append, (&raw mut text).cast()) };
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Appends bytes to the `Vec<u8>` that `to` points to.
unsafe extern "C" fn append(to: *mut c_void, bytes: *const u8, length: usize) {
    // SAFETY: only `describe` and `create` pass it on, with a `Vec<u8>` of theirs.
    let to = unsafe { &mut *to.cast::<Vec<u8>>() };
    to.extend_from_slice(slice(bytes, length));
}

impl PackCode for Table {
    fn create(
        &self,
        name: &str,
        hyper: &str,
        _limits: &Limits,
    ) -> Result<Box<dyn LossCode>, PluginError> {
        let mut error = Vec::new();
        // SAFETY: every pointer comes with its length; the sink appends to `error`.
        let instance = unsafe {
            (self.table.create)(
                name.as_ptr(),
                name.len(),
                hyper.as_ptr(),
                hyper.len(),
                append,
                (&raw mut error).cast(),
            )
        };
        if instance.is_null() {
            let why = short(&String::from_utf8_lossy(&error));
            return Err(PluginError::Broken { path: self.file.clone(), why });
        }
        Ok(Box::new(Instance { table: self.table, instance }))
    }
}

/// A loss behind a C table.
struct Instance {
    table: &'static PluginTable,
    instance: *mut c_void,
}

// SAFETY: the interface asks that an instance may be used from any thread, one at a time.
unsafe impl Send for Instance {}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: `instance` comes from this table's `create` and is given back once.
        unsafe { (self.table.destroy)(self.instance) }
    }
}

impl LossCode for Instance {
    fn run(&mut self, step: Box<Interpreter>) -> (Box<Interpreter>, Result<u64, String>) {
        let context = Context::take(step);
        // SAFETY: `instance` comes from this table's `create`; contexts are never freed.
        let handle =
            unsafe { (self.table.loss)(self.instance, &raw const HOST, context.pointer()) };
        match context.give_back() {
            Some(step) => (step, Ok(handle)),
            None => unreachable!("only `give_back` takes the interpreter out of a context"),
        }
    }
}

/// What a plugin's context pointer points to: the interpreter of the step, or nothing between
/// steps. Contexts are used again and never freed, so a pointer that a plugin kept stays harmless.
struct Context(Mutex<Option<Box<Interpreter>>>);

static SPARE: Mutex<Vec<&'static Context>> = Mutex::new(Vec::new());

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    fn take(step: Box<Interpreter>) -> &'static Context {
        let spare = locked(&SPARE).pop();
        let context = spare.unwrap_or_else(|| Box::leak(Box::new(Context(Mutex::new(None)))));
        *locked(&context.0) = Some(step);
        context
    }

    fn pointer(&'static self) -> *mut c_void {
        (&raw const *self).cast_mut().cast()
    }

    fn give_back(&'static self) -> Option<Box<Interpreter>> {
        let step = locked(&self.0).take();
        locked(&SPARE).push(self);
        step
    }
}

/// Runs `f` on the step behind a context. Nothing unwinds into the plugin.
fn with<T>(context: *mut c_void, nothing: T, f: impl FnOnce(&mut Interpreter) -> T) -> T {
    // SAFETY: contexts are never freed, and a plugin has no other pointers to pass.
    let Some(context) = (unsafe { context.cast::<Context>().as_ref() }) else { return nothing };
    catch_unwind(AssertUnwindSafe(|| locked(&context.0).as_deref_mut().map(f)))
        .ok()
        .flatten()
        .unwrap_or(nothing)
}

fn slice<'a, T>(pointer: *const T, length: usize) -> &'a [T] {
    if length == 0 || pointer.is_null() {
        return &[];
    }
    // SAFETY: the interface passes every pointer with its length; the slice is used in the call.
    unsafe { std::slice::from_raw_parts(pointer, length) }
}

unsafe extern "C" fn call(
    context: *mut c_void,
    op: u32,
    args: *const u64,
    args_length: usize,
    attrs: *const f64,
    attrs_length: usize,
    name: *const u8,
    name_length: usize,
) -> u64 {
    let name = String::from_utf8_lossy(slice(name, name_length));
    with(context, 0, |step| {
        step.call(op, slice(args, args_length), slice(attrs, attrs_length), &name)
    })
}

unsafe extern "C" fn shape(
    context: *mut c_void,
    tensor: u64,
    out: *mut u64,
    capacity: usize,
) -> usize {
    let dims = with(context, vec![1; 4], |step| step.shape(tensor));
    fill(out, capacity, dims.into_iter().map(|d| d as u64))
}

unsafe extern "C" fn read(
    context: *mut c_void,
    tensor: u64,
    out: *mut f64,
    capacity: usize,
) -> usize {
    fill(out, capacity, with(context, Vec::new(), |step| step.read(tensor)).into_iter())
}

/// Writes what fits and returns how many values there are.
fn fill<T>(out: *mut T, capacity: usize, values: impl ExactSizeIterator<Item = T>) -> usize {
    let n = values.len();
    for (i, value) in values.take(capacity).enumerate() {
        // SAFETY: the plugin passes room for `capacity` values.
        unsafe { out.add(i).write(value) };
    }
    n
}

static HOST: HostTable =
    HostTable { abi: abi::INTERFACE, size: size_of::<HostTable>() as u32, call, shape, read };
