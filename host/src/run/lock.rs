//! Who works in a folder.

use crate::failure::{Failure, Result};
use crate::io::regular;
use std::fs::{File, TryLockError};
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Locked by the process that works in a folder.
pub const LOCK: &str = ".lock";

/// Held by the process that works in a folder. The system lets go of it however the process ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    /// Whether its file wasn't there before.
    pub(crate) is_new: bool,
}

impl Lock {
    /// Takes the folder for this process, or says which one has it.
    pub fn take(dir: &Path) -> Result<Self> {
        Self::take_for(dir, "trained")
    }

    /// The same where something else is done in the folder than training, such as `written to`.
    pub fn take_for(dir: &Path, done: &str) -> Result<Self> {
        let path = dir.join(LOCK);
        Self::try_take(dir).map_err(|e| Failure::file("lock the run folder by", &path, e))?.ok_or_else(
            || {
                let owner = regular::read(&path, 32).unwrap_or_default();
                let owner = match owner.trim().parse::<u32>() {
                    Ok(process) => format!("process {process}"),
                    Err(_) => "another process".to_owned(),
                };
                Failure::new(format!(
                    "{} is being {done} by {owner}: wait until it has ended, or stop it with Ctrl-C",
                    dir.display()
                ))
            },
        )
    }

    /// The lock, unless another process has it.
    pub(crate) fn try_take(dir: &Path) -> std::io::Result<Option<Self>> {
        let path = dir.join(LOCK);
        let mut is_new = false;
        for attempt in 0.. {
            let (file, made) = regular::make(&path)?;
            is_new |= made;
            match file.try_lock() {
                // Who had it before may have deleted it: then it locks nothing.
                Ok(()) if !regular::is_at(&file, &path) => continue,
                Ok(()) => {}
                // `retort runs` looks whether a run is locked by locking it for a moment.
                Err(TryLockError::WouldBlock) if attempt < 20 => {
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                }
                Err(TryLockError::WouldBlock) => return Ok(None),
                // A file system without locks: better without than not at all.
                Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(e)) => return Err(e),
            }
            let mut lock = Lock { file, path, is_new };
            return match lock.sign() {
                Err(e) if is_new => {
                    lock.remove();
                    Err(e)
                }
                signed => signed.map(|()| Some(lock)),
            };
        }
        Ok(None)
    }

    /// Says which process has it.
    fn sign(&mut self) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{}", std::process::id())
    }

    /// Lets go of the folder, without a trace.
    pub(crate) fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
        drop(self.file); // only now may another process have it
    }

    /// Whether a process works in the folder.
    pub fn is_taken(dir: &Path) -> bool {
        let Ok(file) = regular::open(&dir.join(LOCK)) else { return false };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}
