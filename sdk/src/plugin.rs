//! The trait a loss implements, how a pack lists its losses, and the pack's side of the boundary.
#![allow(unsafe_code, reason = "the plugin boundary; in a component, generated code only")]

use crate::{
    abi,
    ffi::Host,
    hyper::{Hyper, unindent},
    schema::{self, Definition},
    step::Step,
    tensor::Tensor,
};

/// A loss: hyperparameters, and a formula. State lives in the host, so a loss is a pure function
/// of the step.
pub trait Loss: Hyper {
    /// The scalar to minimise.
    fn loss(&self, step: &Step) -> Tensor;
}

/// A loss whose hyperparameters are set.
type Boxed = Box<dyn Formula>;

trait Formula: Send + Sync {
    fn run(&self, host: Host) -> u64;
}

impl<L: Loss> Formula for L {
    fn run(&self, host: Host) -> u64 {
        self.loss(&Step::new(host)).id
    }
}

/// One loss in a pack's list.
#[derive(Debug)]
pub struct Entry {
    name: &'static str,
    source: &'static str,
    doc: &'static str,
    fields: fn() -> Vec<schema::Field>,
    exempt: &'static [(&'static str, &'static str)],
    make: fn(&serde_json::Map<String, serde_json::Value>) -> Result<Boxed, String>,
}

/// A loss by name, with the source file it was compiled from.
pub const fn entry<L: Loss>(name: &'static str, source: &'static str) -> Entry {
    Entry {
        name,
        source,
        doc: L::DOC,
        fields: L::fields,
        exempt: L::EXEMPT,
        make: |values| Ok(Box::new(L::from_json(values)?)),
    }
}

impl Entry {
    fn definition(&self) -> Definition {
        Definition {
            name: self.name.to_owned(),
            doc: unindent(self.doc),
            paper: header(self.source),
            hyper: (self.fields)(),
            exempt: self.exempt.iter().map(|&(p, why)| (p.to_owned(), why.to_owned())).collect(),
            source: self.source.to_owned(),
        }
    }
}

/// The first paragraph of a file's `//!` lines: the paper.
fn header(source: &str) -> String {
    let lines = source.lines().map_while(|l| l.strip_prefix("//!")).map(str::trim);
    lines.take_while(|l| !l.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A list of losses; [`losses!`](crate::losses) writes it.
pub trait Pack: 'static {
    /// The losses, in the order of the source.
    const LOSSES: &'static [Entry];
}

/// The pack's description, as JSON.
pub fn describe<P: Pack>() -> String {
    let pack = schema::Pack {
        interface: abi::INTERFACE,
        sdk: concat!("retort-sdk ", env!("CARGO_PKG_VERSION")).to_owned(),
        losses: P::LOSSES.iter().map(Entry::definition).collect(),
    };
    serde_json::to_string(&pack).unwrap_or_default()
}

fn create<P: Pack>(name: &str, hyper: &str) -> Result<Boxed, String> {
    let Some(entry) = P::LOSSES.iter().find(|e| e.name == name) else {
        let names: Vec<&str> = P::LOSSES.iter().map(|e| e.name).collect();
        return Err(format!("this pack has no loss {name}; it has: {}", names.join(", ")));
    };
    let values = serde_json::from_str(hyper)
        .map_err(|e| format!("the hyperparameters of {name} aren't a JSON object: {e}"))?;
    (entry.make)(&entry.definition().resolve(&values)?)
}

#[cfg(not(target_family = "wasm"))]
/// The C table of a pack, for linking it in or for exporting it from a native library.
pub const fn table<P: Pack>() -> abi::PluginTable {
    abi::PluginTable {
        abi: abi::INTERFACE,
        size: size_of::<abi::PluginTable>() as u32,
        describe: native::describe::<P>,
        create: native::create::<P>,
        destroy: native::destroy,
        loss: native::loss,
    }
}

#[cfg(not(target_family = "wasm"))]
mod native {
    use super::{Boxed, Host, Pack};
    use crate::abi::{HostTable, Sink};
    use std::any::Any;
    use std::cell::RefCell;
    use std::ffi::c_void;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::slice;

    thread_local! {
        /// Where the last panic of this thread was, if [`quiet_panics`] runs.
        static PANIC_AT: RefCell<Option<String>> = const { RefCell::new(None) };
    }

    /// Panics of a native pack go to the host as errors, not to the terminal.
    pub fn quiet_panics() {
        std::panic::set_hook(Box::new(|info| {
            PANIC_AT.set(info.location().map(|at| format!("{}:{}", at.file(), at.line())));
        }));
    }

    fn message(panic: &(dyn Any + Send)) -> String {
        let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        let text = text.unwrap_or_else(|| "without a message".to_owned());
        match PANIC_AT.take() {
            Some(at) => format!("the plugin panicked at {at}: {text}"),
            None => format!("the plugin panicked: {text}"),
        }
    }

    /// # Safety
    /// `bytes` points to `len` bytes of UTF-8, or `len` is 0.
    unsafe fn text<'a>(bytes: *const u8, len: usize) -> Result<&'a str, String> {
        if len == 0 {
            return Ok("");
        }
        // SAFETY: the caller's promise.
        let bytes = unsafe { slice::from_raw_parts(bytes, len) };
        std::str::from_utf8(bytes).map_err(|e| format!("the host sent text that isn't UTF-8: {e}"))
    }

    pub unsafe extern "C" fn describe<P: Pack>(sink: Sink, to: *mut c_void) {
        let json = catch_unwind(super::describe::<P>).unwrap_or_default();
        // SAFETY: the sink copies the bytes before it returns.
        unsafe { sink(to, json.as_ptr(), json.len()) }
    }

    pub unsafe extern "C" fn create<P: Pack>(
        name: *const u8,
        name_len: usize,
        hyper: *const u8,
        hyper_len: usize,
        sink: Sink,
        to: *mut c_void,
    ) -> *mut c_void {
        // SAFETY: the host passes each pointer with its length.
        let (name, hyper) = unsafe { (text(name, name_len), text(hyper, hyper_len)) };
        let made = catch_unwind(|| super::create::<P>(name?, hyper?));
        match made.unwrap_or_else(|panic| Err(message(&*panic))) {
            Ok(loss) => Box::into_raw(Box::new(loss)).cast(),
            Err(why) => {
                // SAFETY: the sink copies the bytes before it returns.
                unsafe { sink(to, why.as_ptr(), why.len()) };
                std::ptr::null_mut()
            }
        }
    }

    pub unsafe extern "C" fn destroy(instance: *mut c_void) {
        // SAFETY: `instance` comes from `create`, and the host gives it back once.
        let _ = catch_unwind(|| drop(unsafe { Box::from_raw(instance.cast::<Boxed>()) }));
    }

    pub unsafe extern "C" fn loss(
        instance: *mut c_void,
        host: *const HostTable,
        context: *mut c_void,
    ) -> u64 {
        // SAFETY: the host's table lives as long as the process; `instance` comes from `create`.
        let (host, loss) = unsafe { (Host::new(host, context), &*instance.cast::<Boxed>()) };
        catch_unwind(AssertUnwindSafe(|| loss.run(host))).unwrap_or_else(|panic| {
            host.fail(&message(&*panic));
            0
        })
    }
}

#[cfg(not(target_family = "wasm"))]
#[doc(hidden)]
pub use native::quiet_panics;

/// The pack's side of a component.
#[cfg(target_family = "wasm")]
pub mod wasm {
    use super::{Boxed, Host, Pack};
    use std::cell::RefCell;

    thread_local! {
        static MADE: RefCell<Vec<&'static Boxed>> = const { RefCell::new(Vec::new()) };
    }

    /// A panic traps; this tells the host why before it does.
    fn report_panics() {
        std::panic::set_hook(Box::new(|info| {
            let text = info.payload_as_str().unwrap_or("without a message");
            let at = info.location().map(|at| format!(" at {}:{}", at.file(), at.line()));
            Host.fail(&format!("the plugin panicked{}: {text}", at.unwrap_or_default()));
        }));
    }

    /// See the world's `create`. Losses live as long as the component's instance.
    pub fn create<P: Pack>(name: &str, hyper: &str) -> Result<u32, String> {
        report_panics();
        let loss: &'static Boxed = Box::leak(Box::new(super::create::<P>(name, hyper)?));
        MADE.with_borrow_mut(|made| {
            made.push(loss);
            Ok(made.len() as u32 - 1)
        })
    }

    /// See the world's `loss`.
    pub fn loss(instance: u32) -> u64 {
        let loss = MADE.with_borrow(|made| made.get(instance as usize).copied());
        loss.map_or(0, |loss| loss.run(Host))
    }
}

/// The bytes that a library or a component carries so that its interface can be read before
/// anything in it runs.
pub const fn stamp() -> [u8; 16] {
    abi::stamp()
}

/// Declares the pack: the module and the type of each loss, in the order they are listed.
///
/// ```text
/// retort_sdk::losses! {
///     proxy_anchor::ProxyAnchor,
///     rkd::Rkd,
/// }
/// ```
#[macro_export]
macro_rules! losses {
    ($($module:ident :: $loss:ident),* $(,)?) => {
        $(mod $module; pub use $module::$loss;)*

        /// This pack's losses.
        #[derive(Debug)]
        pub struct Pack;

        impl $crate::Pack for Pack {
            const LOSSES: &'static [$crate::Entry] = &[$($crate::entry::<$loss>(
                stringify!($module),
                include_str!(concat!(stringify!($module), ".rs")),
            )),*];
        }

        /// This pack's C table.
        #[cfg(not(target_family = "wasm"))]
        pub static TABLE: $crate::abi::PluginTable = $crate::table::<Pack>();

        #[allow(unsafe_code, missing_docs)]
        #[cfg(not(target_family = "wasm"))]
        mod retort_exports {
            #[used]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__retort"))]
            #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".retort"))]
            static STAMP: [u8; 16] = $crate::stamp();

            #[unsafe(no_mangle)]
            pub extern "C" fn retort_plugin() -> *const $crate::abi::PluginTable {
                $crate::quiet_panics();
                &raw const super::TABLE
            }
        }

        #[allow(unsafe_code, missing_docs)]
        #[cfg(target_family = "wasm")]
        mod retort_exports {
            #[used]
            #[unsafe(link_section = "retort-interface")]
            static INTERFACE: [u8; 4] = $crate::abi::INTERFACE.to_le_bytes();

            struct Component;
            impl $crate::wit::Guest for Component {
                fn describe() -> String { $crate::describe::<super::Pack>() }
                fn create(name: String, hyper: String) -> Result<u32, String> {
                    $crate::wasm::create::<super::Pack>(&name, &hyper)
                }
                fn loss(instance: u32) -> u64 { $crate::wasm::loss(instance) }
            }
            $crate::wit::export!(Component with_types_in $crate::wit);
        }
    };
}
