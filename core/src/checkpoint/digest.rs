//! Which file a checkpoint was.

use super::folder::files_of;
use crate::fs::open_regular;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What was opened to read a checkpoint.
#[derive(Debug)]
pub(super) enum Held {
    /// All of a file.
    Bytes(Arc<Vec<u8>>),
    /// A file whose tensors are read when they are asked for.
    File(Arc<Mutex<File>>),
}

/// A checkpoint's SHA-256, with its kind before it: of an index, then of the files that it names.
pub fn digest(path: &Path) -> io::Result<String> {
    let open = |file| Ok(Held::File(Arc::new(Mutex::new(open_regular(file)?))));
    of(&files_of(path).iter().map(|file| open(file)).collect::<io::Result<Vec<_>>>()?)
}

/// The same of what is open.
pub(super) fn of(held: &[Held]) -> io::Result<String> {
    let mut hash = Sha256::new();
    for held in held {
        match held {
            Held::Bytes(bytes) => hash.update(bytes.as_slice()),
            Held::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(0))?;
                io::copy(&mut *file, &mut hash)?;
            }
        }
    }
    Ok(format!("sha256:{:x}", hash.finalize()))
}
