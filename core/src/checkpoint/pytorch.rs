//! What `torch.save` wrote, at any age of PyTorch, read as data.
//!
//! Python runs what a pickle names; nothing here ever does. A [machine](machine) turns a pickle into
//! values, among which the calls that make up a state dictionary are known (`calls`), and everything else
//! stays a name. [What of it is tensors](state) has a name and a [view](value::View) of a storage; where
//! the storages' bytes lie, each container says.
//!
//! Burn's own reader refuses a file for what may lie beside the weights (a `defaultdict`, an optimiser, a
//! quantised tensor), and finds no directory in a zip whose first entry has a header of 76 bytes.

mod calls;
mod legacy;
mod machine;
mod refuse;
mod state;
mod storage;
mod tar;
mod value;
mod zip;

use super::file::Container;
use crate::fs::open_regular;
use burn::store::burn_pack::Tensor;
use machine::Machine;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex};
use storage::{Places, Source};
use value::Id;

/// Bytes of a pickle, which may be packed.
const LONGEST_PICKLE: u64 = 100 << 20;
/// The number that a file in the legacy container begins with, in binary and in digits, and how far into it.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const LEGACY_MAGIC_TEXT: &[u8] = b"119547037146038801333356";
const LEGACY_SEARCH: usize = 64;
/// What a pickle alone begins with: its protocol, or a container, a tuple or a class.
const PICKLE_BEGINS: &[u8] = b"\x80(}]c";

/// What is in a file.
pub(super) struct Contents {
    pub container: Container,
    /// By name: the keys on the way to it, with points between them.
    pub tensors: BTreeMap<String, Tensor>,
    /// What has a name and isn't read, and what it is.
    pub unread: BTreeMap<String, String>,
    /// The file, which its tensors are read from.
    pub file: Arc<Mutex<File>>,
}

/// Why a file isn't read.
#[derive(Debug)]
pub(super) enum Fault {
    /// It isn't whole.
    Damaged(String),
    /// It is something else, or nothing to read: what, and what to do.
    Other(String),
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Fault::Damaged(why)
    }
}

impl From<&str> for Fault {
    fn from(why: &str) -> Self {
        Fault::Damaged(why.to_owned())
    }
}

/// What a container's pickle holds, and where its storages are.
struct Opened {
    machine: Machine,
    root: Id,
    places: Places,
}

/// Reads a file whose first bytes are `head`; tensors' values when they are asked for.
pub(super) fn read(path: &Path, head: &[u8]) -> Result<Contents, Fault> {
    let file = open_regular(path).map_err(|e| e.to_string())?;
    let (container, opened) = match container(head) {
        Container::Zip => (Container::Zip, zip::open(&file)?),
        Container::Tar => (Container::Tar, tar::open(&file)?),
        Container::Legacy => (Container::Legacy, legacy::open(&file)?),
        _ if !head.first().is_some_and(|first| PICKLE_BEGINS.contains(first)) => {
            return Err("it is neither a file of PyTorch nor of safetensors".into());
        }
        _ => (Container::Pickle, pickle(&file)?),
    };
    let Opened { machine, root, places } = opened;
    let found = state::find(&machine.values, root)?;
    let file = Arc::new(Mutex::new(file));
    let source = Source::new(file.clone(), places);
    let mut tensors = BTreeMap::new();
    for (name, view) in found.views {
        tensors.insert(name.clone(), storage::tensor(name, view, &source)?);
    }
    Ok(Contents { container, tensors, unread: found.unread, file })
}

/// How a file that begins so holds its tensors.
pub(super) fn container(head: &[u8]) -> Container {
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Container::Zip;
    }
    if head.get(257..262) == Some(b"ustar") {
        return Container::Tar;
    }
    let start = &head[..head.len().min(LEGACY_SEARCH)];
    let holds = |magic: &[u8]| start.windows(magic.len()).any(|bytes| bytes == magic);
    if holds(&LEGACY_MAGIC) || holds(LEGACY_MAGIC_TEXT) {
        return Container::Legacy;
    }
    Container::Pickle
}

/// A pickle alone.
fn pickle(file: &File) -> Result<Opened, Fault> {
    let mut machine = Machine::default();
    let root = machine.run(&mut reader(file)?)?;
    Ok(Opened { machine, root, places: Places::new() })
}

/// A file from its beginning.
fn reader(file: &File) -> Result<BufReader<File>, String> {
    let mut file = file.try_clone().map_err(|e| e.to_string())?;
    file.seek(SeekFrom::Start(0)).map_err(|e| e.to_string())?;
    Ok(BufReader::new(file))
}
