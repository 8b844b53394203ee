//! Published archives: zip files, or the folders they unpack to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use crate::walk::{self, Walk, is_left_behind};
use crate::{DataError, open_regular, read_regular};

/// No picture file is larger; a zip that claims otherwise does not get the memory.
pub(crate) const LARGEST_FILE: u64 = 256 << 20;

/// The files of `name.zip`, or of the folder `name`.
pub(crate) struct Archive {
    /// The zip file or the folder.
    path: PathBuf,
    zip: Option<ZipArchive<BufReader<File>>>,
    /// By path below the top folder, in byte order; folders end in `/`.
    entries: BTreeMap<String, Place>,
    /// What was left out, for people.
    pub remark: Option<String>,
    advice: &'static str,
}

#[derive(Clone)]
enum Place {
    InZip(usize),
    OnDisk(PathBuf),
}

impl Archive {
    /// Opens `root/name.zip`, or else the folder `root/name`. Errors end with `advice`.
    pub fn open(root: &Path, name: &str, advice: &'static str) -> Result<Self, DataError> {
        let zip = root.join(format!("{name}.zip"));
        let folder = root.join(name);
        if zip.is_file() {
            Self::open_zip(zip, name, advice)
        } else if folder.is_dir() {
            let (entries, remark) = unpacked(&folder).map_err(|(file, error)| {
                DataError::file(file.display().to_string(), error.to_string(), advice)
            })?;
            Ok(Self { path: folder, zip: None, entries, remark, advice })
        } else {
            let (file, problem) = if root.is_dir() {
                (zip, format!("neither this file nor the folder {name} is there"))
            } else {
                (root.to_path_buf(), "there is no such folder".to_owned())
            };
            Err(DataError::file(file.display().to_string(), problem, advice))
        }
    }

    fn open_zip(path: PathBuf, name: &str, advice: &'static str) -> Result<Self, DataError> {
        let file = path.display().to_string();
        let reader = open_regular(&path)
            .map_err(|error| DataError::file(&file, error.to_string(), advice))?;
        let damaged = |error| {
            let problem = format!("the zip is damaged or incomplete ({error})");
            DataError::file(&file, problem, format!("Fetch it again. {advice}"))
        };
        let zip = ZipArchive::new(BufReader::new(reader)).map_err(damaged)?;
        let top = format!("{name}/");
        let mut entries = BTreeMap::new();
        for i in 0..zip.len() {
            let path = zip.name_for_index(i).transpose().map_err(damaged)?.unwrap_or_default();
            let path = path.strip_prefix(&top).unwrap_or(&path);
            if !path.is_empty() && !path.split('/').any(|name| is_left_behind(name.as_ref())) {
                entries.insert(path.to_owned(), Place::InZip(i));
            }
        }
        Ok(Self { path, zip: Some(zip), entries, remark: None, advice })
    }

    /// Paths below the top folder in byte order; folders end in `/`. Without other systems' junk.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// What to call the archive in messages.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// What to call an entry in messages.
    pub fn describe(&self, entry: &str) -> String {
        self.path.join(entry).display().to_string()
    }

    /// The content of a file.
    pub fn read(&mut self, entry: &str) -> Result<Vec<u8>, DataError> {
        let result = match (self.entries.get(entry), &mut self.zip) {
            (Some(&Place::InZip(i)), Some(zip)) => {
                zip.by_index(i).map_err(std::io::Error::other).and_then(read)
            }
            (Some(Place::OnDisk(path)), _) => read_regular(path, LARGEST_FILE),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        };
        result.map_err(|error| {
            let problem = format!("it cannot be read ({error})");
            DataError::file(
                self.describe(entry),
                problem,
                format!("Fetch it again. {}", self.advice),
            )
        })
    }
}

fn read(file: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(std::io::Error::other("it is larger than any picture"));
    }
    Ok(bytes)
}

/// By path, what a folder holds, and what was left out of it.
type Unpacked = (BTreeMap<String, Place>, Option<String>);

fn unpacked(folder: &Path) -> Result<Unpacked, walk::Failed> {
    fn add(
        walk: &mut Walk,
        (top, at): (&Path, &Path),
        entries: &mut BTreeMap<String, Place>,
    ) -> Result<(), walk::Failed> {
        let name = |path: &Path| path.iter().map(walk::text).collect::<Vec<_>>().join("/");
        let found = walk.list(at)?;
        for path in found.files {
            entries.insert(name(&path), Place::OnDisk(top.join(path)));
        }
        for path in found.folders {
            add(walk, (top, &path), entries)?;
            entries.insert(name(&path) + "/", Place::OnDisk(top.join(path)));
        }
        Ok(())
    }
    let (mut walk, mut entries) = (Walk::new(folder)?, BTreeMap::new());
    add(&mut walk, (folder, Path::new("")), &mut entries)?;
    Ok((entries, walk.remark()))
}
