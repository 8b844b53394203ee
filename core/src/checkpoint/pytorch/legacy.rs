//! The container of PyTorch 0.1.10 to 1.5: five pickles (a magic number, a version, the system, the object,
//! the storages' keys), and each storage in the keys' order as its count and its numbers.

use super::machine::{Machine, bytes};
use super::storage::{Place, Places};
use super::value::{Id, Value};
use super::{Fault, Opened, reader};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek as _, SeekFrom};

/// What a file is whose numbers nobody may take as they are.
pub(super) const BIG_ENDIAN: &str = "its numbers have the byte order of another kind of machine (big-endian); save it again on this kind";

pub(super) fn open(file: &File) -> Result<Opened, Fault> {
    let mut reader = reader(file)?;
    let mut machine = Machine::default();
    machine.run(&mut reader)?;
    let version = machine.run(&mut reader)?;
    if !matches!(machine.value(version), Value::Number(1001)) {
        return Err("its format has another number than 1001".into());
    }
    let system = machine.run(&mut reader)?;
    check_order(&machine, system)?;
    let root = machine.run(&mut reader)?;
    let keys = machine.run(&mut reader)?;
    let Value::List(keys) = machine.value(keys) else {
        return Err("it has no list of its storages".into());
    };
    let sizes: HashMap<&str, u64> = machine
        .values
        .iter()
        .filter_map(|value| match value {
            Value::Storage(storage) => Some((storage.key.as_str(), storage.element.size)),
            _ => None,
        })
        .collect();
    let length = file.metadata().map_err(|e| e.to_string())?.len();
    let mut places = Places::new();
    for &key in keys {
        let key = machine.key(key)?;
        let size = sizes.get(key.as_str()).copied().filter(|&size| size > 0);
        let size = size.ok_or_else(|| format!("the storage {key:?} has no type that is known"))?;
        let count = u64::from_le_bytes(bytes(&mut reader)?);
        let offset = reader.stream_position().map_err(|e| e.to_string())?;
        let bytes = count.checked_mul(size);
        let end = bytes.and_then(|bytes| offset.checked_add(bytes)).filter(|&end| end <= length);
        let (Some(bytes), Some(end)) = (bytes, end) else {
            return Err(format!("it ends before its storage {key:?} does").into());
        };
        reader.seek(SeekFrom::Start(end)).map_err(|e| e.to_string())?;
        places.insert(key, Place { offset, bytes, crc32: 0 });
    }
    Ok(Opened { machine, root, places })
}

/// Whether numbers have this machine's order of bytes, by what is noted of the one that wrote them.
pub(super) fn check_order(machine: &Machine, system: Id) -> Result<(), Fault> {
    let Value::Dict(items) = machine.value(system) else {
        return Err("it doesn't say which kind of machine wrote it".into());
    };
    let little = items.iter().any(|&(key, value)| {
        matches!(machine.value(key), Value::Text(text) if **text == *"little_endian")
            && matches!(machine.value(value), Value::Number(1))
    });
    if little {
        return Ok(());
    }
    Err(Fault::Other(BIG_ENDIAN.to_owned()))
}
