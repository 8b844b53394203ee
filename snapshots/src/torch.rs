//! Files as `torch.save` writes them, byte for byte, with any state dictionary: for layouts and names that
//! real files have and the golden ones don't.

use crate::formula::crc32;

/// A tensor of a state dictionary.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f32>,
}

impl Entry {
    /// With values that its key and shape decide: multiples of 1/16, of variances positive ones, the same
    /// as those of `references/beside.py`.
    pub fn new(key: &str, shape: &[usize]) -> Self {
        let count = shape.iter().product::<usize>();
        let middle = if key.ends_with("running_var") { 5.0 } else { -11.0 };
        let value = |j: usize| (((31 * key.len() + j) % 23) as f32 + middle) / 16.0;
        Entry {
            key: key.to_owned(),
            shape: shape.to_vec(),
            values: (0..count).map(value).collect(),
        }
    }
}

/// retort's `convnet` of width 2 that embeds in so many dimensions; of 0 without an embedding layer.
pub fn convnet(embedding: usize) -> Vec<Entry> {
    let (mut all, mut channels) = (Vec::new(), 3);
    for (i, width) in [2, 3, 4, 6].into_iter().enumerate() {
        all.push(Entry::new(&format!("blocks.{i}.conv.weight"), &[width, channels, 3, 3]));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            all.push(Entry::new(&format!("blocks.{i}.bn.{part}"), &[width]));
        }
        channels = width;
    }
    if embedding > 0 {
        all.push(Entry::new("embedding.weight", &[embedding, channels]));
        all.push(Entry::new("embedding.bias", &[embedding]));
    }
    all
}

/// The same tensors under other keys.
pub fn renamed(entries: Vec<Entry>, name: impl Fn(&str) -> String) -> Vec<Entry> {
    entries.into_iter().map(|entry| Entry { key: name(&entry.key), ..entry }).collect()
}

/// A string of a pickle.
pub fn text(s: &str) -> Vec<u8> {
    [&[b'X'][..], &(s.len() as u32).to_le_bytes(), s.as_bytes()].concat()
}

/// A whole number of a pickle.
pub fn int(n: usize) -> Vec<u8> {
    match n {
        0..=255 => vec![b'K', n as u8],
        256..=65_535 => [&[b'M'][..], &(n as u16).to_le_bytes()].concat(),
        _ => [&[b'J'][..], &(n as u32).to_le_bytes()].concat(),
    }
}

/// A tuple of a pickle.
pub fn tuple(parts: &[Vec<u8>]) -> Vec<u8> {
    [&b"("[..], &parts.concat(), b"t"].concat()
}

/// A dictionary of a pickle.
pub fn dict(items: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let items: Vec<u8> = items.iter().flat_map(|(key, value)| [&key[..], value].concat()).collect();
    [&b"}("[..], &items, b"u"].concat()
}

/// A tensor of a pickle, over the storage with this number.
pub fn tensor(number: usize, class: &str, shape: &[usize]) -> Vec<u8> {
    let count: usize = shape.iter().product();
    let storage = tuple(&[
        text("storage"),
        format!("ctorch\n{class}\n").into_bytes(),
        text(&number.to_string()),
        text("cpu"),
        int(count),
    ]);
    let strides = (0..shape.len()).map(|d| shape[d + 1..].iter().product::<usize>());
    let ints = |dims: Vec<usize>| tuple(&dims.into_iter().map(int).collect::<Vec<_>>());
    let arguments = [
        [storage, b"Q".to_vec()].concat(),
        int(0),
        ints(shape.to_vec()),
        ints(strides.collect()),
        vec![0x89],
        b"ccollections\nOrderedDict\n)R".to_vec(),
    ];
    [b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec(), tuple(&arguments), b"R".to_vec()].concat()
}

/// What `torch.save({stem}.pth)` writes for a state dictionary, in which `beside` says what else the
/// outermost dictionary has, and under which key the state is; bare without one.
pub fn saved(stem: &str, state: &[Entry], beside: Option<(&str, Vec<u8>)>) -> Vec<u8> {
    let items: Vec<_> = state
        .iter()
        .enumerate()
        .map(|(i, entry)| (text(&entry.key), tensor(i, "FloatStorage", &entry.shape)))
        .collect();
    let root = match beside {
        None => dict(&items),
        Some((key, value)) => dict(&[(text("beside"), value), (text(key), dict(&items))]),
    };
    let pickle = [b"\x80\x02".to_vec(), root, b".".to_vec()].concat();
    let mut files = vec![
        ("data.pkl".to_owned(), pickle),
        (".format_version".to_owned(), b"1".to_vec()),
        (".storage_alignment".to_owned(), b"64".to_vec()),
        ("byteorder".to_owned(), b"little".to_vec()),
    ];
    for (i, entry) in state.iter().enumerate() {
        let bytes = entry.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        files.push((format!("data/{i}"), bytes));
    }
    files.push(("version".to_owned(), b"3\n".to_vec()));
    files.push((".data/serialization_id".to_owned(), vec![b'7'; 40]));
    archive(stem, &files)
}

/// A zip as PyTorch's writer makes it: entries in the folder of the stem, not packed, each behind an extra
/// field `FB` that moves its bytes to a multiple of 64, sizes and sums behind the bytes, and at the end the
/// records of large archives beside those of small ones.
pub fn archive(stem: &str, files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut all, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let name = format!("{stem}/{name}");
        // Names in UTF-8; sums and sizes behind the bytes, if there are any.
        let flags: u16 = if bytes.is_empty() { 0x0800 } else { 0x0808 };
        let (start, sum, size) = (all.len() as u32, crc32(bytes), bytes.len() as u32);
        let begin = all.len() + 30 + name.len() + 4;
        let padding = begin.next_multiple_of(64) - begin;
        all.extend(b"PK\x03\x04\0\0");
        all.extend(flags.to_le_bytes());
        all.extend([0; 18]);
        all.extend((name.len() as u16).to_le_bytes());
        all.extend((padding as u16 + 4).to_le_bytes());
        all.extend(name.as_bytes());
        all.extend(b"FB");
        all.extend((padding as u16).to_le_bytes());
        all.extend(vec![b'Z'; padding]);
        all.extend(bytes);
        if !bytes.is_empty() {
            all.extend(b"PK\x07\x08");
            for number in [sum, size, size] {
                all.extend(number.to_le_bytes());
            }
        }
        directory.extend(b"PK\x01\x02\0\0\0\0");
        directory.extend(flags.to_le_bytes());
        directory.extend([0; 6]);
        for number in [sum, size, size] {
            directory.extend(number.to_le_bytes());
        }
        directory.extend((name.len() as u16).to_le_bytes());
        directory.extend([0; 12]);
        directory.extend(start.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (place, size, count) = (all.len() as u64, directory.len() as u64, files.len() as u64);
    all.extend(directory);
    let records = all.len() as u64;
    all.extend(b"PK\x06\x06");
    all.extend(44_u64.to_le_bytes());
    all.extend([0x1e, 3, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for number in [count, count, size, place] {
        all.extend(number.to_le_bytes());
    }
    all.extend(b"PK\x06\x07\0\0\0\0");
    all.extend(records.to_le_bytes());
    all.extend(1_u32.to_le_bytes());
    all.extend(b"PK\x05\x06\0\0\0\0");
    for _ in 0..2 {
        all.extend((count as u16).to_le_bytes());
    }
    all.extend((size as u32).to_le_bytes());
    all.extend((place as u32).to_le_bytes());
    all.extend([0; 2]);
    all
}
