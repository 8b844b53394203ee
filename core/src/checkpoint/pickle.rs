//! A look at a pickle's operations before anything is built of them.
//!
//! Python runs what a pickle names. retort never does: whatever the reader doesn't know stays a name. A
//! file that names programs to run is refused all the same, because nobody who saved weights put
//! that there. The look also bounds how many values the reader is made to build: in a pickle one
//! byte makes a value of a hundred.

use burn::store::pytorch_reader::MAX_PICKLE_SIZE;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Seek as _, sink};
use std::path::Path;

/// Operations in one pickle; a state dictionary has some thirty a tensor.
const MOST_OPERATIONS: usize = 4_000_000;
/// Pickles of a file in the legacy container, before its tensors' bytes.
const LEGACY_PICKLES: usize = 5;
/// Strings that are kept to know which module a later operation names.
const MOST_NAMES: usize = 65_536;

/// Looks through every pickle of a PyTorch file whose first bytes are `head`.
pub(super) fn inspect(path: &Path, head: &[u8]) -> Result<(), String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let mut reader = BufReader::new(file);
    if head.starts_with(b"PK") {
        let mut zip = zip::ZipArchive::new(reader).map_err(|e| e.to_string())?;
        for i in 0..zip.len() {
            let name = zip.name_for_index(i).transpose().map_err(|e| e.to_string())?;
            let name = name.unwrap_or_default();
            if name.ends_with("constants.pkl") {
                return Err("it is a TorchScript program; save its state_dict() instead".to_owned());
            }
            if name.ends_with("data.pkl") {
                let entry = zip.by_index(i).map_err(|e| e.to_string())?;
                scan(&mut BufReader::new(entry.take(MAX_PICKLE_SIZE)))?;
            }
        }
        return Ok(());
    }
    if head.get(257..262) == Some(b"ustar") {
        for entry in tar::Archive::new(reader).entries().map_err(|e| e.to_string())? {
            let entry = entry.map_err(|e| e.to_string())?;
            let name = entry.path().map_err(|e| e.to_string())?.into_owned();
            // The two tables beside it hold pickles between raw bytes; what they may hold is fixed.
            if name.ends_with("pickle") {
                scan(&mut BufReader::new(entry))?;
            }
        }
        return Ok(());
    }
    reader.rewind().map_err(|e| e.to_string())?;
    scan(&mut reader)?;
    // The magic number, of ten bytes, is a pickle of its own.
    if head.windows(LEGACY_MAGIC.len()).take(64).any(|w| w == LEGACY_MAGIC) {
        for _ in 1..LEGACY_PICKLES {
            scan(&mut reader)?;
        }
    }
    Ok(())
}

const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Reads to the end of one pickle.
fn scan(reader: &mut impl BufRead) -> Result<(), String> {
    let mut names = Names::default();
    for _ in 0..MOST_OPERATIONS {
        let [operation] = bytes::<1>(reader)?;
        match operation {
            b'.' => return Ok(()),
            b'('
            | b')'
            | b'0'..=b'2'
            | b'N'
            | b'R'
            | b'Q'
            | b'a'
            | b'b'
            | b'd'
            | b'e'
            | b'l'
            | b'o'
            | b's'
            | b't'
            | b'u'
            | b'}'
            | b']'
            | 0x81
            | 0x85..=0x89
            | 0x8f..=0x92 => {
                names.top = None;
            }
            b'K' | 0x80 => skip(reader, 1)?,
            b'M' => skip(reader, 2)?,
            b'J' => skip(reader, 4)?,
            b'G' | 0x95 => skip(reader, 8)?,
            b'F' | b'I' | b'L' | b'P' => {
                line(reader)?;
            }
            b'S' | b'V' => {
                let text = line(reader)?;
                names.push(Some(text));
            }
            b'U' | 0x8c => text(reader, 1, &mut names)?,
            b'T' | b'X' => text(reader, 4, &mut names)?,
            0x8d => text(reader, 8, &mut names)?,
            b'C' | 0x8a => sized(reader, 1)?,
            b'B' | 0x8b => sized(reader, 4)?,
            0x8e | 0x96 => sized(reader, 8)?,
            b'q' => names.put(u32::from(bytes::<1>(reader)?[0])),
            b'r' => names.put(u32::from_le_bytes(bytes(reader)?)),
            b'p' => names.put(line(reader)?.parse().unwrap_or(u32::MAX)),
            0x94 => names.put(names.count),
            b'h' => names.get(u32::from(bytes::<1>(reader)?[0])),
            b'j' => names.get(u32::from_le_bytes(bytes(reader)?)),
            b'g' => names.get(line(reader)?.parse().unwrap_or(u32::MAX)),
            b'c' | b'i' => {
                let (module, name) = (line(reader)?, line(reader)?);
                refuse(&module, &name)?;
                names.top = None;
            }
            0x93 => {
                refuse(&names.last[0], &names.last[1])?;
                names.top = None;
            }
            other => return Err(format!("byte {other:#04x} is no operation of a pickle")),
        }
    }
    Err(format!("a pickle of more than {MOST_OPERATIONS} operations isn't a checkpoint's"))
}

/// The strings that a pickle handles, as far as they may name a module.
#[derive(Default)]
struct Names {
    /// The two newest.
    last: [String; 2],
    /// The newest, if nothing came after it.
    top: Option<String>,
    memo: HashMap<u32, String>,
    /// Values put into the memo.
    count: u32,
}

impl Names {
    fn push(&mut self, text: Option<String>) {
        self.last.swap(0, 1);
        self.last[1] = text.clone().unwrap_or_default();
        self.top = text;
    }

    fn put(&mut self, index: u32) {
        self.count = self.count.saturating_add(1);
        if let Some(text) = &self.top
            && self.memo.len() < MOST_NAMES
        {
            self.memo.insert(index, text.clone());
        }
    }

    fn get(&mut self, index: u32) {
        match self.memo.get(&index).cloned() {
            Some(text) => self.push(Some(text)),
            None => self.top = None,
        }
    }
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

/// A length of 1, 4 or 8 bytes.
fn length(reader: &mut impl BufRead, width: usize) -> Result<u64, String> {
    let mut bytes = [0; 8];
    reader.read_exact(&mut bytes[..width]).map_err(short)?;
    Ok(u64::from_le_bytes(bytes))
}

fn sized(reader: &mut impl BufRead, width: usize) -> Result<(), String> {
    let n = length(reader, width)?;
    skip(reader, n)
}

fn text(reader: &mut impl BufRead, width: usize, names: &mut Names) -> Result<(), String> {
    let n = length(reader, width)?;
    if n > 256 {
        names.push(None);
        return skip(reader, n);
    }
    let mut bytes = vec![0; n as usize];
    reader.read_exact(&mut bytes).map_err(short)?;
    names.push(Some(String::from_utf8_lossy(&bytes).into_owned()));
    Ok(())
}

fn line(reader: &mut impl BufRead) -> Result<String, String> {
    let mut bytes = Vec::new();
    reader.by_ref().take(1 << 20).read_until(b'\n', &mut bytes).map_err(short)?;
    if bytes.pop() != Some(b'\n') {
        return Err(short(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
