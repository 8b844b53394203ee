//! A look at a PyTorch file before anything is built of it.
//!
//! Python runs what a pickle names. retort never does: whatever the reader doesn't know stays a name. A
//! file that names programs to run is refused all the same, because nobody who saved weights put
//! that there. The look also bounds what the reader is made to build: in a pickle one byte makes a value
//! of a hundred, and one long key stands before the name of every tensor below it.

mod machine;

use super::header::MOST_TENSORS;
use crate::fs::open_regular;
use burn::store::pytorch_reader::MAX_PICKLE_SIZE;
use machine::Machine;
use std::io::{BufRead, BufReader, Read, sink};
use std::path::Path;

/// Pickles of a file in the legacy container, before its tensors' bytes.
const LEGACY_PICKLES: usize = 5;
/// The number that such a file begins with, in binary and in digits, and how far into it.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const LEGACY_MAGIC_TEXT: &[u8] = b"119547037146038801333356";
const LEGACY_SEARCH: usize = 64;

/// Looks through every pickle of a PyTorch file whose first bytes are `head`. Which kind of file it is is
/// told as the reader tells it, or a file could be looked at as one and read as another.
pub(super) fn inspect(path: &Path, head: &[u8]) -> Result<(), String> {
    let reader = BufReader::new(open_regular(path).map_err(|e| e.to_string())?);
    let mut machine = Machine::default();
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return zip(reader, &mut machine);
    }
    if head.get(257..262) == Some(b"ustar") {
        return tar(reader, &mut machine);
    }
    let start = &head[..head.len().min(LEGACY_SEARCH)];
    let holds = |magic: &[u8]| start.windows(magic.len()).any(|bytes| bytes == magic);
    let legacy = holds(&LEGACY_MAGIC) || holds(LEGACY_MAGIC_TEXT);
    let mut reader = reader;
    for _ in 0..if legacy { LEGACY_PICKLES } else { 1 } {
        machine.run(&mut reader)?;
    }
    Ok(())
}

/// Since PyTorch 1.6: one pickle, and an entry for each storage.
fn zip(reader: BufReader<std::fs::File>, machine: &mut Machine) -> Result<(), String> {
    let mut zip = zip::ZipArchive::new(reader).map_err(|e| e.to_string())?;
    let mut pickles = 0;
    for i in 0..zip.len() {
        let name = zip.name_for_index(i).transpose().map_err(|e| e.to_string())?;
        let name = name.unwrap_or_default().into_owned();
        if name.ends_with("constants.pkl") {
            return Err("it is a TorchScript program; save its state_dict() instead".to_owned());
        }
        if name.ends_with("data.pkl") {
            pickles += 1;
            if pickles > 1 {
                return Err("it holds more than one data.pkl".to_owned());
            }
            let entry = zip.by_index(i).map_err(|e| e.to_string())?;
            machine.run(&mut BufReader::new(entry.take(MAX_PICKLE_SIZE)))?;
        } else if name.contains("data/") {
            // Each tensor of a compressed storage would inflate all that is before it.
            let entry = zip.by_index_raw(i).map_err(|e| e.to_string())?;
            if entry.compression() != zip::CompressionMethod::Stored {
                return Err(format!(
                    "its tensors are compressed ({:?}), which torch.save never does",
                    entry.name().map_or_else(|_| String::new(), std::borrow::Cow::into_owned)
                ));
            }
        }
    }
    Ok(())
}

/// Before PyTorch 0.1.10: a pickle, and two tables of pickles between raw bytes.
fn tar(reader: BufReader<std::fs::File>, machine: &mut Machine) -> Result<(), String> {
    for entry in tar::Archive::new(reader).entries().map_err(|e| e.to_string())? {
        let entry = entry.map_err(|e| e.to_string())?;
        let name = entry.path().map_err(|e| e.to_string())?;
        let name = name.to_string_lossy().trim_start_matches("./").to_owned();
        let table = name == "storages" || name == "tensors";
        if !table && name != "sys_info" && name != "pickle" {
            continue;
        }
        // A sparse entry claims zeros without end.
        if !entry.header().entry_type().is_file() {
            return Err(format!("its entry {name} is no plain file"));
        }
        let mut reader = BufReader::new(entry);
        machine.run(&mut reader)?;
        let rows = if table { machine.number } else { 0 };
        if rows > MOST_TENSORS as u64 {
            return Err(format!("its table of {name} claims {rows} rows"));
        }
        for _ in 0..rows {
            machine.run(&mut reader)?;
            if name == "storages" {
                let element = element_size(&machine.class)?;
                let count = u64::from_le_bytes(bytes(&mut reader)?);
                let size = count.checked_mul(element).ok_or("a storage has too many numbers")?;
                skip(&mut reader, size)?;
            } else {
                let rank = u64::from(u32::from_le_bytes(bytes(&mut reader)?));
                skip(&mut reader, 4 + 16 * rank + 8)?;
            }
        }
        // The views of storages.
        if name == "storages" {
            machine.run(&mut reader)?;
        }
    }
    Ok(())
}

/// Bytes of a number in a storage of this class.
fn element_size(class: &str) -> Result<u64, String> {
    Ok(match class {
        "DoubleStorage" | "LongStorage" => 8,
        "FloatStorage" | "IntStorage" => 4,
        "HalfStorage" | "BFloat16Storage" | "ShortStorage" => 2,
        "CharStorage" | "ByteStorage" | "BoolStorage" => 1,
        other => return Err(format!("it has a storage of the unknown type {other:?}")),
    })
}

/// Refuses what runs programs, loads code or opens files. Other names are inert.
fn refuse(module: &str, name: &str) -> Result<(), String> {
    const MODULES: &[&str] = &[
        "os",
        "posix",
        "nt",
        "subprocess",
        "sys",
        "shutil",
        "socket",
        "pty",
        "runpy",
        "importlib",
        "ctypes",
        "webbrowser",
        "pickle",
        "_pickle",
        "cPickle",
        "commands",
        "code",
        "codeop",
        "bdb",
        "pdb",
        "timeit",
        "urllib",
        "requests",
        "http",
        "ftplib",
    ];
    const FUNCTIONS: &[&str] =
        &["eval", "exec", "execfile", "compile", "open", "__import__", "input", "breakpoint"];
    let root = module.split('.').next().unwrap_or_default();
    let builtin = matches!(root, "builtins" | "__builtin__") && FUNCTIONS.contains(&name);
    if !MODULES.contains(&root) && !builtin {
        return Ok(());
    }
    Err(format!(
        "it asks to call {module}.{name} when it is loaded, which no saved network needs. retort ran \
         nothing of it and refuses the file; get it again from those who published it"
    ))
}

fn short(_: std::io::Error) -> String {
    "it ends in the middle of a pickle".to_owned()
}

fn bytes<const N: usize>(reader: &mut impl BufRead) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).map_err(short)?;
    Ok(bytes)
}

fn skip(reader: &mut impl BufRead, n: u64) -> Result<(), String> {
    let copied = std::io::copy(&mut reader.by_ref().take(n), &mut sink()).map_err(short)?;
    if copied == n { Ok(()) } else { Err(short(std::io::ErrorKind::UnexpectedEof.into())) }
}
