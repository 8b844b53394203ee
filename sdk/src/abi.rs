//! The C tables through which a native or linked-in pack and the host meet.
//!
//! Append only: `abi` and `size` come first and never move. The number of the interface changes
//! only when an entry changes its meaning, whatever the crates' versions do.

use core::ffi::c_void;

/// The interface's number, which this SDK builds plugins for.
pub const INTERFACE: u32 = 1;

/// Name of a component's custom section that holds the interface's number (4 bytes, little endian).
pub const SECTION_WASM: &str = "retort-interface";

/// Name of the section of a native library that holds [`STAMP`] and the interface's number.
pub const SECTION_NATIVE: &str = if cfg!(target_vendor = "apple") { "__retort" } else { ".retort" };

/// What a native library's section starts with.
pub const STAMP: [u8; 12] = *b"retort-plug\0";

/// The bytes that [`SECTION_NATIVE`] holds: the stamp, then [`INTERFACE`], little endian.
pub const fn stamp() -> [u8; 16] {
    let (mut out, number) = ([0; 16], INTERFACE.to_le_bytes());
    let mut i = 0;
    while i < 16 {
        out[i] = if i < 12 { STAMP[i] } else { number[i - 12] };
        i += 1;
    }
    out
}

/// Name of the one function that a native pack exports: [`Entry`].
pub const ENTRY: &str = "retort_plugin";

/// Returns the pack's table, which lives as long as the process.
pub type Entry = extern "C" fn() -> *const PluginTable;

/// Takes bytes from the plugin: `sink(to, bytes, length)`.
pub type Sink = unsafe extern "C" fn(*mut c_void, *const u8, usize);

/// Bytes of [`HostTable`] and of [`PluginTable`] as interface 1 began. Tables grow at their end, and each says its
/// size: an entry beyond these is looked at only where the other side's table is long enough to have it.
pub const HOST_TABLE_1: usize = 8 + 3 * size_of::<usize>();
/// See [`HOST_TABLE_1`].
pub const PLUGIN_TABLE_1: usize = 8 + 4 * size_of::<usize>();

/// What the host offers. `context` names the step; each function may be called from any thread.
#[repr(C)]
#[derive(Debug)]
pub struct HostTable {
    /// [`INTERFACE`] of the host.
    pub abi: u32,
    /// Bytes of this table.
    pub size: u32,
    /// `call(context, op, args, args_len, attrs, attrs_len, name, name_len)` runs an operation.
    pub call: unsafe extern "C" fn(
        *mut c_void,
        u32,
        *const u64,
        usize,
        *const f64,
        usize,
        *const u8,
        usize,
    ) -> u64,
    /// `shape(context, tensor, out, capacity)` writes the dimensions and returns their number.
    pub shape: unsafe extern "C" fn(*mut c_void, u64, *mut u64, usize) -> usize,
    /// `read(context, tensor, out, capacity)` writes the values and returns their number.
    pub read: unsafe extern "C" fn(*mut c_void, u64, *mut f64, usize) -> usize,
}

/// What a pack offers. No function unwinds: panics are caught inside and reported to the host.
#[repr(C)]
#[derive(Debug)]
pub struct PluginTable {
    /// [`INTERFACE`] that the pack was built for.
    pub abi: u32,
    /// Bytes of this table.
    pub size: u32,
    /// Gives the pack's description (JSON) to the sink.
    pub describe: unsafe extern "C" fn(Sink, *mut c_void),
    /// `create(name, name_len, hyper, hyper_len, error, to)` makes a loss; null, and a message to
    /// the sink, where it can't.
    pub create:
        unsafe extern "C" fn(*const u8, usize, *const u8, usize, Sink, *mut c_void) -> *mut c_void,
    /// Frees what `create` made.
    pub destroy: unsafe extern "C" fn(*mut c_void),
    /// `loss(instance, host, context)` runs the formula; returns a scalar's handle, or 0.
    pub loss: unsafe extern "C" fn(*mut c_void, *const HostTable, *mut c_void) -> u64,
}

#[cfg(test)]
mod tests {
    use super::{HOST_TABLE_1, HostTable, PLUGIN_TABLE_1, PluginTable};
    use core::mem::offset_of;

    /// The layout that packs of interface 1 were compiled with: entries never move, and never go.
    #[cfg(target_pointer_width = "64")]
    #[test]
    fn tables_only_grow() {
        let host = [
            offset_of!(HostTable, call),
            offset_of!(HostTable, shape),
            offset_of!(HostTable, read),
        ];
        assert_eq!((offset_of!(HostTable, abi), offset_of!(HostTable, size)), (0, 4));
        assert_eq!((host, HOST_TABLE_1), ([8, 16, 24], 32));
        let plugin = [
            offset_of!(PluginTable, describe),
            offset_of!(PluginTable, create),
            offset_of!(PluginTable, destroy),
            offset_of!(PluginTable, loss),
        ];
        assert_eq!((offset_of!(PluginTable, abi), offset_of!(PluginTable, size)), (0, 4));
        assert_eq!((plugin, PLUGIN_TABLE_1), ([8, 16, 24, 32], 40));
        assert!(
            size_of::<HostTable>() >= HOST_TABLE_1 && size_of::<PluginTable>() >= PLUGIN_TABLE_1
        );
    }
}
