//! Files that are written whole or not at all; files to read that are regular ones.

use std::io::Write as _;
use std::path::{Path, PathBuf};

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
    let write = || -> std::io::Result<()> {
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(dir)?;
        file.write_all(bytes)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        }
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        // The rename itself must survive a power cut too. Not every system can sync a folder.
        if let Ok(dir) = std::fs::File::open(dir) {
            let _ = dir.sync_all();
        }
        Ok(())
    };
    write().map_err(|source| WriteError { path: path.to_owned(), source })
}
