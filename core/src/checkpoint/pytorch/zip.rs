//! The container since PyTorch 1.6: a zip with one pickle, and an entry for each storage, not packed.

use super::super::kind;
use super::legacy::BIG_ENDIAN;
use super::machine::Machine;
use super::storage::{Place, Places};
use super::{Fault, LONGEST_PICKLE, Opened, reader};
use std::fs::File;
use std::io::{BufReader, Read as _};
use zip::read::{ArchiveOffset, Config, ZipArchive};

/// What `data.pkl` and the storages beside it lie in may have any name: the file's own when it was saved.
pub(super) fn open(file: &File) -> Result<Opened, Fault> {
    // `torch.save` writes the records of large archives into small ones, too, and nothing before the first
    // entry. Left to find the directory, the library takes these records for something before the first
    // entry, if the header of that happens to be as long as they are: of a name with 21 letters.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut zip = ZipArchive::with_config(config, reader(file)?).map_err(|e| e.to_string())?;
    let mut names = Vec::new();
    for i in 0..zip.len() {
        let name = zip.name_for_index(i).transpose().map_err(|e| e.to_string())?;
        names.push(name.unwrap_or_default().into_owned());
    }
    let mut folders = names.iter().filter_map(|name| {
        let folder = name.strip_suffix("data.pkl")?;
        (folder.is_empty() || folder.ends_with('/')).then_some(folder)
    });
    let Some(folder) = folders.next() else { return Err(Fault::Other(kind::of_zip(&names))) };
    if folders.next().is_some() {
        return Err("it holds more than one data.pkl".into());
    }
    let (program, storages) = (format!("{folder}constants.pkl"), format!("{folder}data/"));
    let order = format!("{folder}byteorder");
    let (mut machine, mut places, mut root) = (Machine::default(), Places::new(), None);
    for (i, name) in names.iter().enumerate() {
        if *name == program {
            let what = "it is a TorchScript program; save its state_dict() instead";
            return Err(Fault::Other(what.to_owned()));
        }
        if name.strip_suffix("data.pkl") == Some(folder) {
            let entry = zip.by_index(i).map_err(|e| e.to_string())?;
            root = Some(machine.run(&mut BufReader::new(entry.take(LONGEST_PICKLE)))?);
        } else if *name == order {
            let mut text = String::new();
            let entry = zip.by_index(i).map_err(|e| e.to_string())?;
            entry.take(16).read_to_string(&mut text).map_err(|e| e.to_string())?;
            if text.trim() == "big" {
                return Err(Fault::Other(BIG_ENDIAN.to_owned()));
            }
        } else if let Some(key) = name.strip_prefix(&storages) {
            let entry = zip.by_index_raw(i).map_err(|e| e.to_string())?;
            // Each tensor of a packed storage would unpack all that is before it.
            if entry.compression() != zip::CompressionMethod::Stored {
                return Err(format!(
                    "its tensors are compressed ({name:?}), which torch.save never does"
                )
                .into());
            }
            let offset = entry.data_start().ok_or_else(|| format!("{name:?} has no beginning"))?;
            let (bytes, crc32) = (entry.size().min(entry.compressed_size()), entry.crc32());
            places.insert(key.to_owned(), Place { offset, bytes, crc32 });
        }
    }
    let root = root.ok_or("it holds no data.pkl")?;
    Ok(Opened { machine, root, places })
}
