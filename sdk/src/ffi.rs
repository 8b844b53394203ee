//! The way across to the host: a C table (linked in, native) or WIT imports (WASM).
#![allow(unsafe_code, reason = "the plugin boundary; in a component, generated code only")]

use crate::op::Op;
use core::panic::Location;

#[cfg(not(target_family = "wasm"))]
use crate::abi::HostTable;

/// The host, as one step sees it. `Copy`, so that handles can carry it through a formula.
#[cfg(not(target_family = "wasm"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    table: *const HostTable,
    context: *mut core::ffi::c_void,
}

#[cfg(not(target_family = "wasm"))]
impl Host {
    /// # Safety
    /// `table` must point to a host's table that lives as long as the process, and `context` must
    /// come from that host. (Contexts are never freed: one that is out of date is refused.)
    pub(crate) unsafe fn new(table: *const HostTable, context: *mut core::ffi::c_void) -> Self {
        Host { table, context }
    }

    fn raw_call(self, op: Op, args: &[u64], attrs: &[f64], name: &str) -> u64 {
        // SAFETY: see `new`; every pointer comes with its length.
        unsafe {
            ((*self.table).call)(
                self.context,
                op as u32,
                args.as_ptr(),
                args.len(),
                attrs.as_ptr(),
                attrs.len(),
                name.as_ptr(),
                name.len(),
            )
        }
    }

    /// Dimensions; ones where the step has failed.
    pub(crate) fn shape(self, tensor: u64) -> Vec<usize> {
        let mut out = [0u64; 8];
        // SAFETY: as above.
        let rank = unsafe { ((*self.table).shape)(self.context, tensor, out.as_mut_ptr(), 8) };
        out[..rank.min(8)].iter().map(|&d| d as usize).collect()
    }

    /// Values, row-major; none where the step has failed.
    pub(crate) fn read(self, tensor: u64) -> Vec<f64> {
        let n = self.shape(tensor).iter().product();
        let mut out = vec![0.0; n];
        // SAFETY: as above.
        let got = unsafe { ((*self.table).read)(self.context, tensor, out.as_mut_ptr(), n) };
        out.truncate(got);
        out
    }
}

/// The host, as one step sees it: in a component, the one that runs it.
#[cfg(target_family = "wasm")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host;

#[cfg(target_family = "wasm")]
impl Host {
    fn raw_call(self, op: Op, args: &[u64], attrs: &[f64], name: &str) -> u64 {
        wit::retort::loss::host::call(op as u32, args, attrs, name)
    }

    /// Dimensions; ones where the step has failed.
    pub(crate) fn shape(self, tensor: u64) -> Vec<usize> {
        wit::retort::loss::host::shape(tensor).into_iter().map(|d| d as usize).collect()
    }

    /// Values, row-major; none where the step has failed.
    pub(crate) fn read(self, tensor: u64) -> Vec<f64> {
        wit::retort::loss::host::read(tensor)
    }
}

impl Host {
    /// Runs an operation. If the step has failed, tells the host the caller's line; it keeps the
    /// first it hears of.
    #[track_caller]
    pub(crate) fn call(self, op: Op, args: &[u64], attrs: &[f64], name: &str) -> u64 {
        let handle = self.raw_call(op, args, attrs, name);
        if handle == 0 {
            let at = Location::caller();
            self.raw_call(Op::Blame, &[], &[], &format!("{}:{}", at.file(), at.line()));
        }
        handle
    }

    /// Fails the step with a message of the plugin's own.
    pub(crate) fn fail(self, message: &str) {
        self.raw_call(Op::Fail, &[], &[], message);
    }
}

/// The bindings of the WIT world `plugin`, as wit-bindgen writes them; a test compares.
#[cfg(target_family = "wasm")]
#[allow(missing_docs, clippy::pedantic, clippy::undocumented_unsafe_blocks)]
pub mod wit {
    include!("bindings.rs");
}
