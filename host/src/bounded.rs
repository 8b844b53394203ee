//! Files of which nobody knows what they are: read to a bound, and only if they are files.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::Path;

/// Opens a regular file. Anything else, such as a folder or a pipe, is an error at once. With `link`
/// false, so is a symbolic link.
pub fn open(path: &Path, link: bool) -> Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // A pipe that nobody writes to isn't waited for; for regular files it means nothing.
        let nofollow = if link { 0 } else { libc::O_NOFOLLOW };
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | nofollow);
    }
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(Error::other("it is a folder"));
    }
    if !metadata.is_file() {
        return Err(Error::other("it is no regular file, but a pipe, a device or the like"));
    }
    Ok(file)
}

/// All of a regular file, if it has at most `most` bytes: else `FileTooLarge`.
pub fn bytes(path: &Path, most: u64) -> Result<Vec<u8>> {
    let file = open(path, true)?;
    let length = file.metadata()?.len();
    if length > most {
        return Err(too_large(length, most));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(most + 1).read_to_end(&mut bytes)?;
    // It may have grown meanwhile.
    if bytes.len() as u64 > most {
        return Err(too_large(bytes.len() as u64, most));
    }
    Ok(bytes)
}

/// All text of a file that the user named, which may be a shell's pipe; at most 16 MiB.
pub fn text(path: &Path) -> Result<String> {
    const MOST: u64 = 16 << 20;
    let mut text = String::new();
    File::open(path)?.take(MOST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it has more than {MOST} bytes")));
    }
    Ok(text)
}

fn too_large(length: u64, most: u64) -> Error {
    Error::new(ErrorKind::FileTooLarge, format!("it has {length} bytes, more than {most}"))
}
