//! Files that are written whole or not at all; files to read that are regular ones.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

pub use retort_datasets::{open_regular, read_regular, read_text};

/// What the names of unfinished files begin with. One that stays was left by a killed process.
pub const TEMPORARY: &str = ".retort-";

/// A file that could not be written. Nothing of it remains; what was there before is untouched.
#[derive(Debug, thiserror::Error)]
#[error("can't write {path}: {source}", path = path.display())]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: std::io::Error,
}

/// Writes a file by way of a temporary one in the same folder: fsync, then rename.
pub fn atomic_write(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let mut draft = Draft::new(path)?;
    draft.append(bytes)?;
    draft.publish().map(drop)
}

/// A file on its way: it has its name when it is whole, in place of what had it before.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl Draft {
    /// An empty one. It goes away unless it is [published](Self::publish).
    pub fn new(path: &Path) -> Result<Self, WriteError> {
        let file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder(path));
        let file = file.map_err(|source| WriteError { path: path.to_owned(), source })?;
        Ok(Draft { path: path.to_owned(), file: BufWriter::new(file) })
    }

    /// Adds to its end.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let written = self.file.write_all(bytes);
        written.map_err(|source| WriteError { path: self.path.clone(), source })
    }

    /// Gives it its name. The file that is returned may be written further.
    pub fn publish(self) -> Result<File, WriteError> {
        let Draft { path, file } = self;
        let publish = || -> std::io::Result<File> {
            let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt as _;
                file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
            }
            file.as_file().sync_all()?;
            let file = file.persist(&path).map_err(|e| e.error)?;
            // The rename itself must survive a power cut too. Not every system can sync a folder.
            if let Ok(dir) = File::open(folder(&path)) {
                let _ = dir.sync_all();
            }
            Ok(file)
        };
        publish().map_err(|source| WriteError { path: path.clone(), source })
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}
