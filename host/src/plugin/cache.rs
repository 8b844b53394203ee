//! Compiled components on disk, so that the second load of a component takes milliseconds.
//!
//! They are machine code, so they are loaded only if this user wrote them: from a folder that nobody
//! else can write to, and with a keyed hash whose key nobody else can read. Where that doesn't hold,
//! the cache isn't used, and components are compiled anew.

use crate::io::regular;
use hmac_sha256::HMAC;
use sha2::{Digest as _, Sha256};
use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wasmtime::Engine;

/// A folder that a variable of the environment names.
pub fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// Folder of retort's caches: `RETORT_CACHE`, or `retort` in the user's cache folder.
pub fn folder() -> Option<PathBuf> {
    variable("RETORT_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("retort")))
        .or_else(|| variable("HOME").map(|dir| dir.join(".cache/retort")))
        .or_else(|| variable("LOCALAPPDATA").map(|dir| dir.join("retort")))
}

/// The name of a component's entry: its content, this interface, and this engine with its settings.
pub fn entry(engine: &Engine, digest: &str, interface: u32) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let content = digest.trim_start_matches("sha256:");
    format!("{content}-{interface}-{:016x}.cwasm", hasher.finish())
}

/// Bytes of the key, and of the hash that an entry ends with.
const HASH: usize = 32;
/// What the key's file is called.
const KEY: &str = "components.key";

/// A cache that is this user's alone.
pub struct Cache {
    components: PathBuf,
    key: [u8; HASH],
}

impl Cache {
    /// The cache in a folder; none if it can't be made, or if others could have written what is there.
    pub fn open(folder: &Path) -> Option<Cache> {
        let components = folder.join("components");
        create_private(&components).ok()?;
        let ours = check_folder(folder, true).and_then(|()| check_folder(&components, false));
        if let Err(why) = ours {
            static SAID: Once = Once::new();
            let folder = folder.display();
            SAID.call_once(|| {
                crate::terminal::output::say(format_args!(
                    "compiled components aren't kept in {folder}: {why}; RETORT_CACHE names another \
                     folder"
                ));
            });
            return None;
        }
        let key = key(folder)?;
        Some(Cache { components, key })
    }

    /// The file of the code that [`store`](Self::store) kept under this name, if it is there and whole.
    ///
    /// It is hashed as it is read, and meant to be mapped into memory: the code of a Python has 35 MB, and to copy them
    /// takes longer than all else. Between the two nobody but this user can have changed it, and `store` never does: it
    /// puts another file in its place.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let path = self.components.join(name);
        let file = regular::open_itself(&path).ok()?;
        let metadata = file.metadata().ok()?;
        check_ours(&metadata, 0o022).ok()?;
        let length = metadata.len().checked_sub(HASH as u64)?;
        if length > super::compile::CODE {
            return None;
        }
        let mut hash = [0; HASH];
        read_at(&file, &mut hash, length).ok()?;
        let content = content(length, |part, at| read_at(&file, part, at).ok())?;
        self.hash(name, &content).finalize_verify(&hash).then_some(path)
    }

    /// Keeps code. A cache that can't be written costs time, not the run.
    pub fn store(&self, name: &str, code: &[u8]) {
        self.sweep();
        let part = |part: &mut [u8], at: u64| {
            let at = usize::try_from(at).ok()?;
            part.copy_from_slice(code.get(at..at + part.len())?);
            Some(())
        };
        let Some(content) = content(code.len() as u64, part) else { return };
        let bytes = [code, &self.hash(name, &content).finalize()].concat();
        let _ = retort_core::fs::atomic_write(&self.components.join(name), &bytes);
    }

    /// The keyed hash of code, which is hashed, under a name: an entry is good for its own component only.
    fn hash(&self, name: &str, content: &[u8]) -> HMAC {
        let mut hash = HMAC::new(self.key);
        hash.update(content);
        hash.update(name);
        hash
    }

    /// Deletes what killed processes left half written.
    fn sweep(&self) {
        const OLD: Duration = Duration::from_hours(1);
        let Ok(entries) = std::fs::read_dir(&self.components) else { return };
        for entry in entries.filter_map(Result::ok) {
            let torn = entry.file_name().to_string_lossy().starts_with(retort_core::fs::TEMPORARY);
            let age =
                entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
            if torn && age.is_some_and(|age| age > OLD) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// Bytes that are hashed at once.
const PART: u64 = 1 << 18;

/// The hash of so many bytes: of the hashes of their parts, which threads `read` in turns.
fn content(length: u64, read: impl Fn(&mut [u8], u64) -> Option<()> + Sync) -> Option<[u8; 32]> {
    const THREADS: usize = 4;
    let (parts, next) = (length.div_ceil(PART), AtomicU64::new(0));
    let work = || {
        let (mut buffer, mut hashes) = (vec![0; PART as usize], Vec::new());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= parts {
                return Some(hashes);
            }
            let at = number * PART;
            let part = buffer.get_mut(..PART.min(length - at) as usize)?;
            read(part, at)?;
            hashes.push((number, Sha256::digest(&*part)));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(THREADS).min(usize::try_from(parts).ok()?);
    let hashes = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().ok()?).collect::<Option<Vec<_>>>()
    });
    let mut hashes = hashes?.concat();
    hashes.sort_unstable_by_key(|(number, _)| *number);
    let mut all = Sha256::new_with_prefix(length.to_le_bytes());
    for (_, hash) in &hashes {
        all.update(hash);
    }
    Some(all.finalize().into())
}

/// All bytes of a part of a file.
#[cfg(unix)]
fn read_at(file: &std::fs::File, part: &mut [u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, part, at)
}

#[cfg(windows)]
fn read_at(file: &std::fs::File, mut part: &mut [u8], mut at: u64) -> std::io::Result<()> {
    while !part.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, part, at)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => (part, at) = (&mut part[n..], at + n as u64),
        }
    }
    Ok(())
}

/// The key of a cache, made if there is none that is this user's secret.
fn key(folder: &Path) -> Option<[u8; HASH]> {
    let path = folder.join(KEY);
    let kept = || {
        let mut file = regular::open_itself(&path).ok()?;
        check_ours(&file.metadata().ok()?, 0o077).ok()?;
        let mut key = [0; HASH];
        file.read_exact(&mut key).ok()?;
        (file.read(&mut [0]).ok()? == 0).then_some(key)
    };
    if let Some(key) = kept() {
        return Some(key);
    }
    let mut key = [0; HASH];
    getrandom::fill(&mut key).ok()?;
    // Readable for its owner alone, as all temporary files are.
    let mut file =
        tempfile::Builder::new().prefix(retort_core::fs::TEMPORARY).tempfile_in(folder).ok()?;
    file.write_all(&key).ok()?;
    file.as_file().sync_all().ok()?;
    // Of two processes that make one at once, the later wins; what the other keeps isn't found.
    file.persist(&path).ok()?;
    kept()
}

/// A folder, and those above it, that only their owner may write to.
fn create_private(dir: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Whether nobody else can have put a file into a folder. `link` allows a symbolic link to one.
fn check_folder(path: &Path, link: bool) -> Result<(), String> {
    let here = || path.display();
    let itself = std::fs::symlink_metadata(path).map_err(|e| format!("{}: {e}", here()))?;
    let mut metadata = itself.clone();
    if itself.is_symlink() && link {
        check_ours(&itself, 0).map_err(|why| format!("{} {why}", here()))?;
        metadata = std::fs::metadata(path).map_err(|e| format!("{}: {e}", here()))?;
    }
    if !metadata.is_dir() {
        return Err(format!("{} is no folder", here()));
    }
    check_ours(&metadata, 0o022).map_err(|why| format!("{} {why}", here()))
}

/// Whether a file or folder belongs to the user that this process works for, and lets others do none
/// of what the bits of `mode` say.
#[cfg(unix)]
fn check_ours(metadata: &Metadata, mode: u32) -> Result<(), &'static str> {
    use std::os::unix::fs::MetadataExt as _;
    match user() {
        None => Err("belongs to nobody knows whom"),
        Some(user) if user != metadata.uid() => Err("belongs to another user"),
        Some(_) if metadata.mode() & mode != 0 => Err("can be written to by others (chmod go-w)"),
        Some(_) => Ok(()),
    }
}

/// Elsewhere the user's own folder is trusted.
#[cfg(not(unix))]
fn check_ours(_: &Metadata, _: u32) -> Result<(), &'static str> {
    Ok(())
}

/// The user that this process works for: the owner of what it makes.
#[cfg(unix)]
fn user() -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    static USER: std::sync::OnceLock<Option<u32>> = std::sync::OnceLock::new();
    let probe = || tempfile::tempfile().and_then(|file| file.metadata()).ok();
    *USER.get_or_init(|| probe().map(|metadata| metadata.uid()))
}
