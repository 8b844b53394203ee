//! Taking a folder for something new.

use crate::failure::{Failure, Result};
use crate::run::folder::CONFIG;
use crate::run::kept;
use crate::run::lock::{LOCK, Lock};
use retort_core::fs::{TEMPORARY, atomic_write};
use std::fs::DirEntry;
use std::path::{Path, PathBuf};

/// A folder taken for something new: locked first, then looked into, so that of two that come at the
/// same moment one gets it, and the other is refused. Unless it is [kept](Self::keep), what was made for
/// it goes away again.
#[derive(Debug)]
pub struct Claim {
    dir: PathBuf,
    lock: Option<Lock>,
    /// Folders that were made, the innermost first, and files.
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Claim {
    /// Takes a folder, and makes it where it isn't there. It must be empty but for what a training leaves
    /// that was killed before it [is a run](crate::run::folder::is_run).
    pub fn new(dir: &Path) -> Result<Self> {
        loop {
            let missing = dir.ancestors().take_while(|a| !is_there(a)).map(Path::to_owned);
            let mut claim = Claim {
                dir: dir.to_owned(),
                lock: None,
                folders: missing.collect(),
                files: Vec::new(),
            };
            let make = std::fs::create_dir_all(dir);
            make.map_err(|e| Failure::file("make the run folder", dir, e))?;
            // Nothing is put into a folder that is somebody's.
            claim.refuse_full(dir.join(LOCK).is_file())?;
            let mut lock = match Lock::take(dir) {
                // Another one had made the folder, failed, and took it away.
                Err(_) if !is_there(dir) => continue,
                lock => lock?,
            };
            let used = !lock.is_new;
            let empty = claim.refuse_full(used);
            // What has come in since was another training's, whose lock this is, whoever made it.
            lock.is_new &= empty.is_ok();
            claim.lock = Some(lock);
            empty?;
            if used {
                remove_torn(dir)?;
            }
            return Ok(claim);
        }
    }

    /// `used` says whether it has a lock from before.
    fn refuse_full(&self, used: bool) -> Result<()> {
        let dir = &self.dir;
        let read = |e| Failure::file("read the folder", dir, e);
        for entry in std::fs::read_dir(dir).map_err(read)? {
            let entry = entry.map_err(read)?;
            let name = entry.file_name();
            if name != LOCK && !(used && is_leftover(&entry)) {
                return Err(Failure::usage(format!(
                    "{} isn't empty; a run never overwrites another: name a new folder with --out",
                    dir.display()
                )));
            }
        }
        Ok(())
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a file into it, or into a folder in it, whole or not at all.
    pub fn write(&mut self, name: &Path, bytes: &[u8]) -> Result<()> {
        let path = self.dir.join(name);
        if let Some(inner) = path.parent().filter(|inner| !is_there(inner)) {
            std::fs::create_dir(inner).map_err(|e| Failure::file("make the folder", inner, e))?;
            self.folders.insert(0, inner.to_owned());
        }
        atomic_write(&path, bytes).map_err(Failure::new)?;
        self.files.push(path);
        Ok(())
    }

    /// Counts files, which others write, among those that were made.
    pub fn add(&mut self, names: &[&str]) {
        self.files.extend(names.iter().map(|name| self.dir.join(name)));
    }

    /// What was made stays from here on.
    pub fn keep(&mut self) {
        self.folders.clear();
        self.files.clear();
        if let Some(lock) = &mut self.lock {
            lock.is_new = false;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // a bug deletes nothing
        }
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
        if let Some(lock) = self.lock.take_if(|lock| lock.is_new) {
            lock.remove();
        }
        for folder in &self.folders {
            let _ = std::fs::remove_dir(folder); // only if nothing is in it
        }
    }
}

/// Whether there is anything of that name, be it a link to nothing.
pub fn is_there(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.symlink_metadata().is_ok()
}

/// Whether a training leaves this that is killed before its folder is a run.
fn is_leftover(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let ours = name == LOCK || name == CONFIG || name.to_string_lossy().starts_with(TEMPORARY);
    ours && entry.file_type().is_ok_and(|t| t.is_file())
}

/// Whether a folder has nothing but what a training leaves that is killed before it is a run.
pub fn is_unbegun(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    dir.join(LOCK).is_file() && entries.into_iter().all(|e| e.is_ok_and(|e| is_leftover(&e)))
}

/// Deletes what a killed process left half written.
pub fn remove_torn(dir: &Path) -> Result<()> {
    let entries = std::fs::read_dir(dir).map_err(|e| Failure::file("read", dir, e))?;
    let kept = std::fs::read_dir(dir.join(kept::FOLDER)).into_iter().flatten();
    for entry in entries.chain(kept).filter_map(std::result::Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            let path = entry.path();
            std::fs::remove_file(&path).map_err(|e| Failure::file("delete", &path, e))?;
        }
    }
    Ok(())
}
