//! Packs that are here, by their digests. What is on its way lies in a folder of its own, and has its name in the store
//! only when it is whole and right.

use super::home;
use crate::failure::{Failure, Result};
use crate::io::download::{self, Expected, Patience, Source};
use crate::plugin::digest;
use crate::run::lock::Lock;
use crate::terminal::output;
use retort_core::fs::{atomic_write, read_regular};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks at whether another process has finished.
const LOOK: Duration = Duration::from_millis(100);

/// Packs by their digests.
pub struct Store(PathBuf);

impl Store {
    /// The user's: `packs` in retort's cache, `RETORT_CACHE`.
    pub fn open() -> Result<Self> {
        Ok(Store(home::cache()?.join("packs")))
    }

    /// One in a folder.
    pub fn at(folder: &Path) -> Self {
        Store(folder.to_owned())
    }

    /// Where a pack of this digest lies, if it is there.
    pub fn path(&self, digest: &str) -> PathBuf {
        self.0.join(digest.trim_start_matches("sha256:")).with_extension("wasm")
    }

    /// Puts a pack there, whole or not at all; two at once put the same.
    pub fn put(&self, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.path(&digest(bytes));
        home::make(&path)?;
        atomic_write(&path, bytes).map_err(Failure::new)?;
        Ok(path)
    }

    /// A pack's bytes, if they are those of the digest.
    pub fn get(&self, wanted: &str) -> Result<Vec<u8>> {
        let path = self.path(wanted);
        let bytes = read_regular(&path, u64::MAX).map_err(|e| Failure::file("read", &path, e))?;
        match digest(&bytes) {
            same if same == wanted => Ok(bytes),
            other => Err(Failure::new(format!(
                "{} has changed since it was added: its digest is {other}; delete it, and add the pack again",
                path.display()
            ))),
        }
    }

    /// A pack's bytes, downloaded if they aren't here. An interrupted download goes on where it stopped; of two
    /// processes that want the same, one downloads it and the other waits.
    pub fn fetch(
        &self,
        wanted: &str,
        source: &Source,
        size: Option<u64>,
        most: u64,
        patience: Patience,
    ) -> Result<Vec<u8>> {
        let hex = hexadecimal(wanted).ok_or_else(|| {
            Failure::new(format!("{wanted:?} is no digest: sha256: and 64 digits"))
        })?;
        if let Ok(bytes) = self.get(wanted) {
            return Ok(bytes);
        }
        let folder = self.0.join("downloads").join(hex);
        let Some(lock) = self.turn(wanted, &folder)? else { return self.get(wanted) };
        let path = self.path(wanted);
        let part = folder.join("pack");
        let bar = download::bar(source.url, size);
        let expected = Expected { size, sha256: Some(hex), most: Some(most) };
        let result = download::fetch(source, &part, &expected, &bar, patience);
        bar.finish_and_clear();
        result?;
        std::fs::rename(&part, &path).map_err(|e| Failure::file("write", &path, e))?;
        lock.remove();
        let _ = std::fs::remove_dir(&folder);
        self.get(wanted)
    }

    /// The right to download; none if another process has done so in the meantime.
    fn turn(&self, wanted: &str, folder: &Path) -> Result<Option<Lock>> {
        let failed = |e: std::io::Error| Failure::file("make the folder", folder, e);
        let mut said = false;
        loop {
            std::fs::create_dir_all(folder).map_err(failed)?;
            match Lock::try_take(folder) {
                Ok(Some(lock)) if self.get(wanted).is_ok() => {
                    lock.remove();
                    let _ = std::fs::remove_dir(folder);
                    return Ok(None);
                }
                Ok(Some(lock)) => return Ok(Some(lock)),
                Ok(None) if !said => {
                    said = true;
                    output::say(format_args!("another process downloads {wanted}: waiting for it"));
                }
                Ok(None) => {}
                // The other has finished and taken its folder away.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Failure::file("lock", folder, e)),
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// The digits of a digest, if it is one.
pub fn hexadecimal(digest: &str) -> Option<&str> {
    let digits = digest.strip_prefix("sha256:")?;
    let is = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (digits.len() == 64 && digits.bytes().all(is)).then_some(digits)
}
