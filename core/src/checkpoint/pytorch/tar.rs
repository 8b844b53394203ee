//! The container before PyTorch 0.1.10: a tar with a pickle, and two tables of pickles between raw bytes.

use super::super::kind;
use super::legacy::check_order;
use super::machine::{Machine, bytes};
use super::storage::{Place, Places};
use super::value::{Element, Id, Storage, Value, View};
use super::{Fault, Opened, reader};
use crate::tensors::header::MOST_TENSORS;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Seek as _, SeekFrom};

/// Entries of a tar that are looked at.
const MOST_ENTRIES: usize = 1000;
/// Dimensions that PyTorch's tensors have at most.
const MOST_DIMENSIONS: u32 = 64;

/// Where an entry lies in the file.
#[derive(Clone, Copy)]
struct Entry {
    begin: u64,
    end: u64,
}

pub(super) fn open(file: &File) -> Result<Opened, Fault> {
    let mut entries = BTreeMap::new();
    let mut archive = tar::Archive::new(reader(file)?);
    for entry in archive.entries().map_err(|e| e.to_string())?.take(MOST_ENTRIES) {
        let entry = entry.map_err(|e| e.to_string())?;
        let name = entry.path().map_err(|e| e.to_string())?;
        let name = name.to_string_lossy().trim_start_matches("./").to_owned();
        // A sparse entry claims zeros without end.
        let plain = entry.header().entry_type().is_file();
        if !plain && ["sys_info", "storages", "tensors", "pickle"].contains(&name.as_str()) {
            return Err(format!("its entry {name} is no plain file").into());
        }
        let begin = entry.raw_file_position();
        entries.insert(name, Entry { begin, end: begin.saturating_add(entry.size()) });
    }
    let [Some(storages), Some(tensors), Some(pickle)] =
        ["storages", "tensors", "pickle"].map(|name| entries.get(name).copied())
    else {
        return Err(Fault::Other(kind::of_tar(&entries.into_keys().collect::<Vec<_>>())));
    };
    let mut machine = Machine::default();
    let mut reader = reader(file)?;
    let mut at =
        |entry: Entry| reader.seek(SeekFrom::Start(entry.begin)).map_err(|e| e.to_string());
    if let Some(&system) = entries.get("sys_info") {
        at(system)?;
        let system = machine.run(&mut reader)?;
        check_order(&machine, system)?;
    }
    let (places, elements) = storage_table(&mut reader, &mut machine, storages)?;
    let views = tensor_table(&mut reader, &mut machine, tensors, &places, &elements)?;
    machine.tensors = Some(views);
    reader.seek(SeekFrom::Start(pickle.begin)).map_err(|e| e.to_string())?;
    let root = machine.run(&mut reader)?;
    Ok(Opened { machine, root, places })
}

/// Begins a table; how many rows it has.
fn rows(reader: &mut BufReader<File>, machine: &mut Machine, entry: Entry) -> Result<u64, Fault> {
    reader.seek(SeekFrom::Start(entry.begin)).map_err(|e| e.to_string())?;
    let rows = machine.run(reader)?;
    match machine.value(rows) {
        Value::Number(rows) if (0..=MOST_TENSORS as i64).contains(rows) => Ok(*rows as u64),
        Value::Number(rows) => Err(format!("a table of it claims {rows} rows").into()),
        _ => Err("a table of it doesn't say how many rows it has".into()),
    }
}

/// The three parts of a row's pickle.
fn row(reader: &mut BufReader<File>, machine: &mut Machine) -> Result<[Id; 3], Fault> {
    let row = machine.run(reader)?;
    match machine.value(row) {
        Value::List(parts) => <[Id; 3]>::try_from(&parts[..]).ok(),
        _ => None,
    }
    .ok_or_else(|| "a row of its tables hasn't three parts".into())
}

/// The storages: of each `(key, location, type)`, its count and its numbers; then views of them.
fn storage_table(
    reader: &mut BufReader<File>,
    machine: &mut Machine,
    entry: Entry,
) -> Result<(Places, HashMap<String, Element>), Fault> {
    let (mut places, mut elements) = (Places::new(), HashMap::new());
    for _ in 0..rows(reader, machine, entry)? {
        let [key, _, class] = row(reader, machine)?;
        let (key, element) = (machine.key(key)?, machine.element(class)?);
        if element.size == 0 {
            let what = element.dtype.err().unwrap_or_default();
            return Err(format!("it has a storage of the unknown type {what:?}").into());
        }
        let count = u64::from_le_bytes(bytes(reader)?);
        let offset = reader.stream_position().map_err(|e| e.to_string())?;
        let bytes = count.checked_mul(element.size);
        let end = bytes.and_then(|bytes| offset.checked_add(bytes)).filter(|&end| end <= entry.end);
        let (Some(bytes), Some(end)) = (bytes, end) else {
            return Err(format!("it ends before its storage {key:?} does").into());
        };
        reader.seek(SeekFrom::Start(end)).map_err(|e| e.to_string())?;
        places.insert(key.clone(), Place { offset, bytes, crc32: 0 });
        elements.insert(key, element);
    }
    let views = machine.run(reader)?;
    let Value::List(views) = machine.value(views) else {
        return Err("it has no list of views of its storages".into());
    };
    for &view in views {
        let Value::List(parts) = machine.value(view) else { continue };
        let [target, root, offset, count] = parts[..] else { continue };
        let (target, root) = (machine.key(target)?, machine.key(root)?);
        let outside = || format!("the view {target:?} lies outside of its storage {root:?}");
        let (place, element) = places.get(&root).zip(elements.get(&root)).ok_or_else(outside)?;
        let bytes = |id| match machine.value(id) {
            Value::Number(n) => u64::try_from(*n).ok()?.checked_mul(element.size),
            _ => None,
        };
        let (from, size) = bytes(offset).zip(bytes(count)).ok_or_else(outside)?;
        from.checked_add(size).filter(|&end| end <= place.bytes).ok_or_else(outside)?;
        let part = Place { offset: place.offset + from, bytes: size, crc32: 0 };
        let element = element.clone();
        places.insert(target.clone(), part);
        elements.insert(target, element);
    }
    Ok((places, elements))
}

/// The tensors: of each `(key, storage's key, type)`, its rank, sizes, strides and offset.
fn tensor_table(
    reader: &mut BufReader<File>,
    machine: &mut Machine,
    entry: Entry,
    places: &Places,
    elements: &HashMap<String, Element>,
) -> Result<HashMap<String, View>, Fault> {
    let mut views = HashMap::new();
    for _ in 0..rows(reader, machine, entry)? {
        let [key, storage, _] = row(reader, machine)?;
        let (key, storage) = (machine.key(key)?, machine.key(storage)?);
        let rank = u32::from_le_bytes(bytes(reader)?);
        if rank > MOST_DIMENSIONS {
            return Err(format!("the tensor {key:?} has {rank} dimensions").into());
        }
        bytes::<4>(reader)?;
        let mut numbers = Vec::new();
        for _ in 0..=2 * rank {
            let number = i64::from_le_bytes(bytes(reader)?);
            let wrong = |_| format!("the tensor {key:?} has a size of {number}");
            numbers.push(u64::try_from(number).map_err(wrong)?);
        }
        let offset = numbers.pop().unwrap_or_default();
        let strides = numbers.split_off(rank as usize);
        let shape = numbers.into_iter().map(|d| d as usize).collect();
        let known = places.get(&storage).zip(elements.get(&storage));
        let lacks = || format!("the tensor {key:?} lacks its storage {storage:?}");
        let (place, element) = known.ok_or_else(lacks)?;
        let (element, count) = (element.clone(), place.bytes / element.size);
        let storage =
            Storage { key: storage, element: element.clone(), untyped: false, count, offset: 0 };
        views.insert(key, View { storage, element, offset, shape, strides });
    }
    Ok(views)
}
