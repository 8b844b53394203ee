//! PyTorch files: pickles that make sense in part, in each of the containers.

use super::{Rng, mutate};
use std::io::Write as _;

fn text(s: &str) -> Vec<u8> {
    [&[b'X'][..], &(s.len() as u32).to_le_bytes(), s.as_bytes()].concat()
}

fn int(n: u64) -> Vec<u8> {
    match n {
        0..=255 => vec![b'K', n as u8],
        256..=0x7fff_ffff => [&[b'J'][..], &(n as u32).to_le_bytes()].concat(),
        _ => [&[0x8a, 8][..], &n.to_le_bytes()].concat(),
    }
}

fn tuple(parts: &[Vec<u8>]) -> Vec<u8> {
    [&b"("[..], &parts.concat(), b"t"].concat()
}

fn size(rng: &mut Rng) -> u64 {
    if rng.one_in(4) { rng.number() } else { rng.next() % 5 }
}

/// A tensor over one of two storages of 64 bytes.
fn tensor(rng: &mut Rng) -> Vec<u8> {
    let class = *rng.pick(&["FloatStorage", "DoubleStorage", "HalfStorage", "LongStorage", "X"]);
    let numel = if rng.one_in(3) { rng.number() } else { 8 };
    let storage = tuple(&[
        text("storage"),
        format!("ctorch\n{class}\n").into_bytes(),
        text(rng.pick::<&str>(&["0", "1", "2", ""])),
        text("cpu"),
        int(numel),
    ]);
    let rank = rng.below(5);
    let dims = |rng: &mut Rng| tuple(&(0..rank).map(|_| int(size(rng))).collect::<Vec<_>>());
    let function = *rng.pick(&["_rebuild_tensor_v2", "_rebuild_tensor", "_rebuild_tensor_v3"]);
    let (shape, stride) = (dims(rng), dims(rng));
    let args = [
        [storage, b"Q".to_vec()].concat(),
        int(size(rng)),
        shape,
        stride,
        vec![0x89],
        b"}".to_vec(),
    ];
    [format!("ctorch._utils\n{function}\n").into_bytes(), tuple(&args), b"R".to_vec()].concat()
}

/// Names that networks have, and others.
fn key(rng: &mut Rng) -> String {
    match rng.below(8) {
        0 => "k".repeat(1 << rng.below(13)),
        1 => "model.".repeat(1 + rng.below(200)),
        2 => "\u{1b}[2J\n".to_owned(),
        _ => (*rng.pick(&[
            "state_dict",
            "module",
            "embedding.weight",
            "blocks.0.conv.weight",
            "layer1.0.conv1.weight",
            "patch_embed.proj.weight",
            "a",
            "",
        ]))
        .to_owned(),
    }
}

fn value(rng: &mut Rng, depth: usize) -> Vec<u8> {
    let few = |rng: &mut Rng| rng.below(4);
    let code = match rng.below(if depth == 0 { 6 } else { 17 }) {
        0 => b"N".to_vec(),
        1 => int(rng.number()),
        2 => text(&key(rng)),
        3 => [&b"G"[..], &rng.next().to_be_bytes()].concat(),
        4 | 5 => tensor(rng),
        6 => {
            let items: Vec<_> = (0..few(rng)).map(|_| value(rng, depth - 1)).collect();
            tuple(&items)
        }
        7 => {
            let items: Vec<_> = (0..few(rng)).map(|_| value(rng, depth - 1)).collect();
            [&b"]("[..], &items.concat(), b"e"].concat()
        }
        8..=11 => {
            let pair = |rng: &mut Rng| [text(&key(rng)), value(rng, depth - 1)].concat();
            let items: Vec<_> = (0..few(rng)).map(|_| pair(rng)).collect();
            [&b"}("[..], &items.concat(), b"u"].concat()
        }
        12 => {
            let pairs: Vec<_> =
                (0..few(rng)).map(|_| tuple(&[text(&key(rng)), value(rng, depth - 1)])).collect();
            let list = [&b"]("[..], &pairs.concat(), b"e"].concat();
            [&b"ccollections\nOrderedDict\n"[..], &tuple(&[list]), b"R"].concat()
        }
        13 => [&b"cnumpy\nthing\n"[..], &tuple(&[value(rng, depth - 1)]), b"R"].concat(),
        14 => {
            // A dictionary whose class makes what a key lacks.
            let (key, inner) = (value(rng, 0), value(rng, depth - 1));
            [&b"ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R("[..], &key, &inner, b"u"]
                .concat()
        }
        15 => {
            // An object that is a dictionary, too, with attributes.
            let (items, state) = (value(rng, depth - 1), value(rng, depth - 1));
            let class = *rng.pick(&[
                "easydict\nEasyDict",
                "code.models\nNet",
                "torch._utils\n_rebuild_qtensor",
            ]);
            let begin = format!("c{class}\n)");
            [begin.as_bytes(), b"\x81(", &text(&key(rng)), &items, b"u", &state, b"b"].concat()
        }
        _ => {
            // A module.
            let table = |name: &str, rng: &mut Rng| {
                let entry = [text(&key(rng)), value(rng, depth - 1)].concat();
                [text(name), b"}(".to_vec(), entry, b"u".to_vec()].concat()
            };
            let tables = ["_parameters", "_buffers", "_modules"].map(|name| table(name, rng));
            [&b"c__main__\nNet\n)\x81}("[..], &tables.concat(), b"ub"].concat()
        }
    };
    // Through the memo and back, or twice.
    match rng.below(12) {
        0 => [code, vec![b'q', rng.below(4) as u8]].concat(),
        1 => [code, vec![b'q', 0, b'0', b'h', 0]].concat(),
        2 => [code, b"20".to_vec()].concat(),
        _ => code,
    }
}

/// A pickle, now and then with operations that don't belong.
fn pickle(rng: &mut Rng) -> Vec<u8> {
    let depth = 1 + rng.below(4);
    let mut code = value(rng, depth);
    if rng.one_in(3) {
        for _ in 0..=rng.below(3) {
            let ops = b"().012NRQabdelstu}]hqrjgpcXUTKMJGFILVSB\x80\x81\x82\x85\x86\x87\x88\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96\x97";
            let at = rng.below(code.len() + 1);
            let op = vec![*rng.pick(ops); if rng.one_in(20) { 1 << rng.below(17) } else { 1 }];
            code.splice(at..at, op);
        }
    }
    if rng.one_in(4) {
        mutate(&mut code, &[], rng);
    }
    [&b"\x80\x02"[..], &code, b"."].concat()
}

fn zipped(pickle: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = |rng: &mut Rng| {
        let deflated = rng.one_in(6);
        let method = if deflated {
            zip::CompressionMethod::Deflated
        } else {
            zip::CompressionMethod::Stored
        };
        zip::write::SimpleFileOptions::default().compression_method(method)
    };
    let mut add = |name: &str, content: &[u8], rng: &mut Rng| {
        if zip.start_file(name, options(rng)).is_ok() {
            let _ = zip.write_all(content);
        }
    };
    add("x/data.pkl", pickle, rng);
    add("x/byteorder", b"little", rng);
    add("x/data/0", &[1; 64], rng);
    add("x/data/1", &[2; 64], rng);
    if rng.one_in(10) {
        add("y/data.pkl", pickle, rng);
    }
    zip.finish().map(std::io::Cursor::into_inner).unwrap_or_default()
}

fn legacy(pickle: &[u8], rng: &mut Rng) -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
    let protocol = b"\x80\x02M\xe9\x03.";
    let system = [b"\x80\x02}".to_vec(), text("little_endian"), vec![0x88, b's', b'.']].concat();
    let keys = [b"\x80\x02](".to_vec(), text("0"), text("1"), b"e.".to_vec()].concat();
    let count = if rng.one_in(4) { rng.number() } else { 8 };
    let storage = [&count.to_le_bytes()[..], &[3; 64]].concat();
    [&magic[..], protocol, &system, pickle, &keys, &storage, &storage].concat()
}

/// A tar's entry.
fn entry(name: &str, content: &[u8], kind: u8) -> Vec<u8> {
    let mut head = vec![0; 512];
    head[..name.len()].copy_from_slice(name.as_bytes());
    head[100..108].copy_from_slice(b"0000644\0");
    head[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    head[136..148].copy_from_slice(b"00000000000\0");
    head[148..156].copy_from_slice(b"        ");
    head[156] = kind;
    head[257..263].copy_from_slice(b"ustar\0");
    let sum: u32 = head.iter().map(|&b| u32::from(b)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = [&head[..], content].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn tar(pickle: &[u8], rng: &mut Rng) -> Vec<u8> {
    let system = [b"\x80\x02}".to_vec(), text("little_endian"), vec![0x88, b's', b'.']].concat();
    let number = |n: u64| [b"\x80\x02".to_vec(), int(n), b".".to_vec()].concat();
    let rows = |rng: &mut Rng| if rng.one_in(4) { rng.number() } else { 1 };
    let row = [
        b"\x80\x02".to_vec(),
        tuple(&[text("0"), text("cpu"), b"ctorch\nFloatStorage\n".to_vec()]),
        b".".to_vec(),
    ]
    .concat();
    let count = if rng.one_in(4) { rng.number() } else { 16 };
    let views = b"\x80\x02].";
    let storages =
        [number(rows(rng)), row, count.to_le_bytes().to_vec(), vec![4; 64], views.to_vec()]
            .concat();
    let row = [
        b"\x80\x02".to_vec(),
        tuple(&[text("0"), text("0"), b"ctorch\nFloatTensor\n".to_vec()]),
        b".".to_vec(),
    ]
    .concat();
    let mut table = [number(rows(rng)), row, 1_u32.to_le_bytes().to_vec(), vec![0; 4]].concat();
    for _ in 0..3 {
        table.extend(size(rng).to_le_bytes());
    }
    let kind = if rng.one_in(8) { *rng.pick(b"SL2x") } else { b'0' };
    [
        entry("sys_info", &system, b'0'),
        entry("storages", &storages, kind),
        entry("tensors", &table, kind),
        entry("pickle", pickle, b'0'),
        vec![0; 1024],
    ]
    .concat()
}

/// A state dictionary in a zip: keys, shapes and 32-bit values.
pub fn state_dict(tensors: &[(String, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut items = Vec::new();
    for (i, (key, shape, values)) in tensors.iter().enumerate() {
        let number = i.to_string();
        let storage = tuple(&[
            text("storage"),
            b"ctorch\nFloatStorage\n".to_vec(),
            text(&number),
            text("cpu"),
            int(values.len() as u64 / 4),
        ]);
        let strides = (0..shape.len()).map(|d| shape[d + 1..].iter().product::<usize>());
        let ints =
            |dims: Vec<usize>| tuple(&dims.into_iter().map(|d| int(d as u64)).collect::<Vec<_>>());
        let args = [
            [storage, b"Q".to_vec()].concat(),
            int(0),
            ints(shape.clone()),
            ints(strides.collect()),
            vec![0x89],
            b"}".to_vec(),
        ];
        items.extend(text(key));
        items.extend(b"ctorch._utils\n_rebuild_tensor_v2\n");
        items.extend(tuple(&args));
        items.push(b'R');
        if zip.start_file(format!("x/data/{number}"), stored).is_ok() {
            let _ = zip.write_all(values);
        }
    }
    if zip.start_file("x/data.pkl", stored).is_ok() {
        let _ = zip.write_all(&[&b"\x80\x02}("[..], &items, b"u."].concat());
    }
    zip.finish().map(std::io::Cursor::into_inner).unwrap_or_default()
}

/// A file.
pub fn make(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = if !seeds.is_empty() && rng.one_in(3) {
        rng.pick(seeds).clone()
    } else {
        let pickle = pickle(rng);
        match rng.below(8) {
            0..=3 => zipped(&pickle, rng),
            4 | 5 => legacy(&pickle, rng),
            6 => tar(&pickle, rng),
            _ => pickle,
        }
    };
    if rng.one_in(3) {
        mutate(&mut bytes, seeds, rng);
    }
    bytes
}
