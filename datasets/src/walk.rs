//! What lies in a folder: each file once, nothing from outside, and without what other programs leave behind.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How deep folders are searched. (Links can't make one deeper than it is.)
const DEEPEST: usize = 64;

/// A search through a folder.
///
/// A symbolic link is followed only to what is in the folder and isn't found without it, such as a store
/// of files in a hidden folder; so links end, whatever they make. One that leads nowhere counts as a file,
/// which is missed when it is read. The others are left out and counted.
pub(crate) struct Walk {
    /// Without links in it.
    root: PathBuf,
    /// What the user calls it.
    given: PathBuf,
    /// What was reached through links.
    taken: BTreeSet<PathBuf>,
    outside: Vec<PathBuf>,
    twice: Vec<PathBuf>,
}

/// Paths below the root, in byte order.
#[derive(Default)]
pub(crate) struct Listed {
    pub folders: Vec<PathBuf>,
    pub files: Vec<PathBuf>,
}

/// What went wrong where.
pub(crate) type Failed = (PathBuf, io::Error);

impl Walk {
    /// Of a folder, or of the one that a link leads to.
    pub fn new(root: &Path) -> Result<Self, Failed> {
        Ok(Self {
            root: root.canonicalize().map_err(|e| (root.to_owned(), e))?,
            given: root.to_owned(),
            taken: BTreeSet::new(),
            outside: Vec::new(),
            twice: Vec::new(),
        })
    }

    /// What is right in a folder `at` below the root.
    pub fn list(&mut self, at: &Path) -> Result<Listed, Failed> {
        let folder = self.root.join(at);
        let failed = |e| (self.given.join(at), e);
        // Where it is in truth: elsewhere than at `folder` if a link led here.
        let real = folder.canonicalize().map_err(failed)?;
        let mut items = fs::read_dir(&folder)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(failed)?;
        items.retain(|item| !is_left_behind(&item.file_name()));
        items.sort_by_key(fs::DirEntry::file_name);
        let mut found = Listed::default();
        for item in items {
            let path = at.join(item.file_name());
            let kind = item.file_type().map_err(|e| (self.given.join(&path), e))?;
            let target = if kind.is_symlink() {
                item.path().canonicalize().ok()
            } else {
                Some(real.join(item.file_name()))
            };
            let is_folder = match &target {
                Some(target) if kind.is_symlink() || real != folder => {
                    if !self.takes(target, &path) {
                        continue;
                    }
                    target.is_dir()
                }
                _ => kind.is_dir(),
            };
            let list = if is_folder { &mut found.folders } else { &mut found.files };
            list.push(path);
        }
        Ok(found)
    }

    /// All files in a folder `at` below the root and in those in it: a folder's own before those of the
    /// folders in it.
    pub fn files(&mut self, at: &Path) -> Result<Vec<PathBuf>, Failed> {
        let mut found = Vec::new();
        self.collect(at, 0, &mut found)?;
        Ok(found)
    }

    fn collect(&mut self, at: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Failed> {
        if depth > DEEPEST {
            let why = format!("it lies in more than {DEEPEST} folders, one in the other");
            return Err((self.given.join(at), io::Error::other(why)));
        }
        let Listed { folders, files } = self.list(at)?;
        found.extend(files);
        folders.iter().try_for_each(|folder| self.collect(folder, depth + 1, found))
    }

    /// Whether what a link led to is to be taken; counts it if not.
    fn takes(&mut self, target: &Path, path: &Path) -> bool {
        let Ok(inside) = target.strip_prefix(&self.root) else {
            self.outside.push(path.to_owned());
            return false;
        };
        let found_anyway = !inside.iter().any(is_left_behind);
        if found_anyway || !self.taken.insert(target.to_owned()) {
            self.twice.push(path.to_owned());
            return false;
        }
        true
    }

    /// Which links were left out, for people.
    pub fn remark(&self) -> Option<String> {
        let first = self.outside.first().or(self.twice.first())?;
        let (outside, twice) = (self.outside.len(), self.twice.len());
        let n = outside + twice;
        let what = match (outside, twice) {
            (0, _) => "what they lead to is in it already".to_owned(),
            (_, 0) => "they lead out of it".to_owned(),
            _ => format!("{outside} lead out of it, and what {twice} lead to is in it already"),
        };
        Some(format!(
            "{n} symbolic links in {} are left out, because {what}; the first: {}",
            self.given.display(),
            text(first.as_os_str())
        ))
    }
}

/// What systems and other programs leave in folders and archives: hidden files (`.DS_Store`, AppleDouble's
/// `._x.jpg`), thumbnails, bins.
pub(crate) fn is_left_behind(name: &OsStr) -> bool {
    const NAMES: [&str; 8] = [
        "__MACOSX",
        "@eaDir",
        "Thumbs.db",
        "desktop.ini",
        "$RECYCLE.BIN",
        "#recycle",
        "System Volume Information",
        "lost+found",
    ];
    let bytes = name.as_encoded_bytes();
    bytes.starts_with(b".") || NAMES.iter().any(|n| bytes.eq_ignore_ascii_case(n.as_bytes()))
}

/// A name as text. What isn't UTF-8 in it becomes `\xNN`, so that two names stay two.
pub(crate) fn text(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        text += chunk.valid();
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}"); // A string takes all.
        }
    }
    text
}

/// Whether a file of this name is a picture.
pub(crate) fn is_picture(path: &Path) -> bool {
    const EXTENSIONS: [&str; 13] = [
        "jpg", "jpeg", "jpe", "jfif", "png", "ppm", "pgm", "pnm", "bmp", "gif", "tif", "tiff",
        "webp",
    ];
    let extension = path.extension().unwrap_or_default();
    let left_behind = path.file_name().is_none_or(is_left_behind);
    !left_behind && EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}
