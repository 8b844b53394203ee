//! Safetensors files that needn't fit into memory, read and written some rows at a time.

use crate::failure::{Failure, Result};
use burn::tensor::{DType, TensorData};
use retort_core::fs::open_regular;
use retort_core::tensors::header;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// A file to read from.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: File,
    header: Metadata,
    /// Where the tensors begin.
    start: u64,
}

impl Reader {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |e: std::io::Error| Failure::file("read", path, e);
        let whole = |why: &dyn std::fmt::Display| {
            Failure::file("read", path, format!("it isn't a whole safetensors file ({why})"))
        };
        let mut file = open_regular(path).map_err(fail)?;
        let length = file.metadata().map_err(fail)?.len();
        let mut bytes = [0; 8];
        file.read_exact(&mut bytes).map_err(|e| whole(&e))?;
        let size = header::size(bytes, length).map_err(|e| whole(&e))?;
        let mut text = vec![0; size];
        file.read_exact(&mut text).map_err(fail)?;
        let header = header::parse(&text).map_err(|e| whole(&e))?;
        let size = size as u64;
        let (mut at, mut infos) = (0, header.tensors().into_values().collect::<Vec<_>>());
        infos.sort_by_key(|info| info.data_offsets);
        for info in infos {
            let size =
                info.shape.iter().try_fold(info.dtype.bitsize() / 8, |a, &b| a.checked_mul(b));
            let (from, to) = info.data_offsets;
            if from != at || to.checked_sub(from) != size {
                return Err(whole(&"its tensors don't fill it"));
            }
            at = to;
        }
        if length != 8 + size + at as u64 {
            return Err(whole(&"its tensors don't fill it"));
        }
        Ok(Reader { path: path.to_owned(), file, header, start: 8 + size })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An entry of its metadata.
    pub fn note(&self, key: &str) -> Option<&String> {
        self.header.metadata().as_ref()?.get(key)
    }

    /// Names of its tensors, in order.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.header.tensors().into_keys().collect();
        names.sort();
        names
    }

    /// Type and shape of a tensor.
    pub fn info(&self, name: &str) -> Option<(Dtype, &[usize])> {
        self.header.info(name).map(|info| (info.dtype, info.shape.as_slice()))
    }

    /// Rows of a tensor: `[count, …]`, floats as `f32` or `f64`, integers as they are.
    pub fn rows(&mut self, name: &str, from: usize, count: usize) -> Result<TensorData> {
        let wrong =
            |why: String| Failure::new(format!("{}: tensor {name} {why}", self.path.display()));
        let info = self.header.info(name).ok_or_else(|| wrong("is missing".to_owned()))?.clone();
        let dtype = match info.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            Dtype::I64 => DType::I64,
            other => return Err(wrong(format!("has type {other:?}; use F32, F64 or I64"))),
        };
        let mut shape = info.shape;
        let all = shape.first().copied().unwrap_or_default();
        let end = from.saturating_add(count);
        if end > all {
            return Err(wrong(format!("has {all} rows, not {end}")));
        }
        shape[0] = count;
        let row = shape[1..].iter().product::<usize>() * dtype.size();
        let place = self.start + (info.data_offsets.0 + from * row) as u64;
        let mut bytes = vec![0; count * row];
        let read = self.file.seek(SeekFrom::Start(place));
        let read = read.and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|e| Failure::file("read", &self.path, e))?;
        Ok(TensorData::from_bytes_vec(bytes, shape, dtype))
    }
}

/// A file to write, which is there under its name only when it is whole.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: tempfile::NamedTempFile,
    tensors: BTreeMap<String, (DType, Vec<usize>)>,
    /// Where each tensor's next row goes, and where it ends.
    places: BTreeMap<String, (u64, u64)>,
}

impl Writer {
    /// Starts a file that will hold tensors of these names, types and shapes.
    pub fn create(
        path: &Path,
        tensors: &BTreeMap<String, (DType, Vec<usize>)>,
        notes: HashMap<String, String>,
    ) -> Result<Self> {
        let fail = |e: &dyn std::fmt::Display| Failure::file("write", path, e);
        let (mut infos, mut at) = (Vec::new(), 0);
        // 64-bit types first, so that all are aligned.
        for wide in [true, false] {
            for (name, (dtype, shape)) in tensors.iter().filter(|t| (t.1.0.size() == 8) == wide) {
                let size = shape.iter().product::<usize>() * dtype.size();
                let data_offsets = (at, at + size);
                let dtype = match dtype {
                    DType::F64 => Dtype::F64,
                    DType::I64 => Dtype::I64,
                    _ => Dtype::F32,
                };
                infos
                    .push((name.clone(), TensorInfo { dtype, shape: shape.clone(), data_offsets }));
                at += size;
            }
        }
        let header = Metadata::new(Some(notes), infos).map_err(|e| fail(&e))?;
        let mut text = serde_json::to_vec(&header).map_err(|e| fail(&e))?;
        text.resize(text.len().next_multiple_of(8), b' ');
        let start = 8 + text.len() as u64;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let mut file = tempfile::Builder::new()
            .prefix(".retort-")
            .tempfile_in(dir.unwrap_or(Path::new(".")))
            .map_err(|e| fail(&e))?;
        let begun = file.write_all(&(text.len() as u64).to_le_bytes());
        let begun = begun.and_then(|()| file.write_all(&text));
        // Now, rather than after an hour, is the time to find that the disk is too small.
        let begun = begun.and_then(|()| file.as_file().set_len(start + at as u64));
        begun.map_err(|e| fail(&e))?;
        let places = header.tensors().into_iter().map(|(name, info)| {
            let (from, to) = info.data_offsets;
            (name, (start + from as u64, start + to as u64))
        });
        let (path, tensors) = (path.to_owned(), tensors.clone());
        Ok(Writer { path, file, tensors, places: places.collect() })
    }

    /// Adds rows to a tensor, after those that it has.
    pub fn add(&mut self, name: &str, rows: &TensorData) -> Result<()> {
        let fail = |e: &dyn std::fmt::Display| Failure::file("write", &self.path, e);
        let bytes = rows.as_bytes();
        let (at, end) = self.places.get_mut(name).ok_or_else(|| fail(&format!("no {name}")))?;
        if *at + bytes.len() as u64 > *end {
            return Err(fail(&format!("more rows of {name} than there should be")));
        }
        let written = self.file.seek(SeekFrom::Start(*at));
        written.and_then(|_| self.file.write_all(bytes)).map_err(|e| fail(&e))?;
        *at += bytes.len() as u64;
        Ok(())
    }

    /// Puts a file in its place of which each tensor got its first `rows` only, with those and other notes.
    pub fn finish_short(self, rows: usize, notes: HashMap<String, String>) -> Result<()> {
        let fail = |e: &dyn std::fmt::Display| Failure::file("write", &self.path, e);
        let size = |dtype: &DType, shape: &[usize]| {
            (shape.iter().product::<usize>() * dtype.size()) as u64
        };
        let mut tensors = self.tensors.clone();
        for (_, shape) in tensors.values_mut() {
            shape[0] = rows;
        }
        let mut short = Writer::create(&self.path, &tensors, notes)?;
        for (name, (to, end)) in &mut short.places {
            let (dtype, shape) = &self.tensors[name];
            let (next, all) = self.places[name];
            let from = all - size(dtype, shape);
            if next - from != *end - *to {
                return Err(fail(&format!("{name} doesn't have {rows} rows")));
            }
            let mut file = self.file.as_file();
            let copied = (file.seek(SeekFrom::Start(from)))
                .and_then(|_| short.file.seek(SeekFrom::Start(*to)))
                .and_then(|_| std::io::copy(&mut file.take(*end - *to), &mut short.file));
            if copied.map_err(|e| fail(&e))? != *end - *to {
                return Err(fail(&"it became shorter while it was written"));
            }
            *to = *end;
        }
        short.finish()
    }

    /// Puts the file in its place, once every row is there.
    pub fn finish(self) -> Result<()> {
        let fail = |e: &dyn std::fmt::Display| Failure::file("write", &self.path, e);
        if let Some((name, _)) = self.places.iter().find(|(_, (at, end))| at != end) {
            return Err(fail(&format!("rows of {name} are missing")));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::Permissions::from_mode(0o644);
            self.file.as_file().set_permissions(mode).map_err(|e| fail(&e))?;
        }
        self.file.as_file().sync_all().map_err(|e| fail(&e))?;
        self.file.persist(&self.path).map_err(|e| fail(&e.error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let shapes = BTreeMap::from([
            ("a".to_owned(), (DType::F32, vec![3, 2])),
            ("b".to_owned(), (DType::I64, vec![3])),
        ]);
        let notes = HashMap::from([("k".to_owned(), "v".to_owned())]);
        let mut writer = Writer::create(&path, &shapes, notes).unwrap();
        writer.add("a", &TensorData::new(vec![1f32, 2.0, 3.0, 4.0], [2, 2])).unwrap();
        writer.add("b", &TensorData::new(vec![7i64, 8, 9], [3])).unwrap();
        assert!(writer.add("b", &TensorData::new(vec![1i64], [1])).is_err());
        writer.add("a", &TensorData::new(vec![5f32, 6.0], [1, 2])).unwrap();
        writer.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(SafeTensors::deserialize(&bytes).unwrap().len(), 2);
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.note("k").unwrap(), "v");
        assert_eq!(
            reader.rows("a", 1, 2).unwrap().iter::<f32>().collect::<Vec<_>>(),
            [3., 4., 5., 6.]
        );
        assert!(reader.rows("a", 2, 2).is_err());
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(Reader::open(&path).unwrap_err().message.contains("isn't a whole"));
    }

    #[test]
    fn a_file_with_fewer_rows_than_it_was_made_for_has_those() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let shapes = BTreeMap::from([
            ("a".to_owned(), (DType::F32, vec![3, 2])),
            ("b".to_owned(), (DType::I64, vec![3])),
        ]);
        let begun = || {
            let mut writer = Writer::create(&path, &shapes, HashMap::new()).unwrap();
            writer.add("a", &TensorData::new(vec![1f32, 2.0, 3.0, 4.0], [2, 2])).unwrap();
            writer.add("b", &TensorData::new(vec![7i64, 8], [2])).unwrap();
            writer
        };
        assert!(begun().finish_short(1, HashMap::new()).is_err());
        assert!(!path.exists());
        let notes = HashMap::from([("k".to_owned(), "v".to_owned())]);
        begun().finish_short(2, notes).unwrap();
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.note("k").unwrap(), "v");
        assert_eq!(reader.info("a").unwrap().1, [2, 2]);
        let (a, b) = (reader.rows("a", 0, 2).unwrap(), reader.rows("b", 0, 2).unwrap());
        assert_eq!(a.iter::<f32>().collect::<Vec<_>>(), [1., 2., 3., 4.]);
        assert_eq!(b.iter::<i64>().collect::<Vec<_>>(), [7, 8]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_unfinished_file_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let shapes = BTreeMap::from([("a".to_owned(), (DType::F32, vec![3, 2]))]);
        let writer = Writer::create(&path, &shapes, HashMap::new()).unwrap();
        assert!(writer.finish().is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
