//! Files of folders that others may have filled: plain files of a sane size. A pipe would hang its
//! reader, a device or a huge file fill the memory, and a link write elsewhere.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::path::Path;

pub use retort_core::fs::{open_regular as open, read_text as read};

/// Most bytes of a run's or suite's small files.
pub const SMALL: u64 = 8 << 20;

/// Opens a file to read it, unless it is a symbolic link.
pub fn open_itself(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // Neither a pipe without a writer is waited for.
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
    }
    plain(options.open(path)?)
}

/// Opens a file to read and write it, and makes it where it isn't there; `true` if it was made. What
/// is there must be a plain file with this one name.
pub fn make(path: &Path) -> Result<(File, bool)> {
    loop {
        match own(File::options().create_new(true)).open(path) {
            Ok(file) => return Ok((file, true)),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
        match own(&mut File::options()).open(path) {
            Ok(file) => return only(plain(file)?).map(|file| (file, false)),
            // It went away in between.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(_) if path.is_symlink() => {
                return Err(wrong("it is a link, and retort writes through none; delete it"));
            }
            Err(e) => return Err(e),
        }
    }
}

/// To read and write, and through no link.
fn own(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    options.read(true).write(true)
}

fn plain(file: File) -> Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(wrong("it is no plain file")) }
}

/// A file with other names may be anybody's.
fn only(file: File) -> Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        if file.metadata()?.nlink() > 1 {
            return Err(wrong("it has a second name elsewhere, and may be another's; delete it"));
        }
    }
    Ok(file)
}

fn wrong(why: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, why)
}

/// Whether this is still the file of that name.
pub fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let (Ok(a), Ok(b)) = (file.metadata(), path.symlink_metadata()) else { return false };
        (a.dev(), a.ino()) == (b.dev(), b.ino())
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}
