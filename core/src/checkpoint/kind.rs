//! What a file is that holds no weights, or none that retort reads: said by what it begins with and holds,
//! with what would help.

use std::path::Path;

/// What files of other programs begin with.
const BEGINNINGS: &[(&[u8], &str)] = &[
    (b"\x89HDF\r\n\x1a\n", HDF5),
    (b"\x93NUMPY", "it is one array of NumPy (.npy), not a network's weights"),
    (b"GGUF", GGML),
    (b"ggml", GGML),
    (b"lmgg", GGML),
    (b"tjgg", GGML),
    (b"\x1f\x8b", "it is packed with gzip (.gz, .tar.gz): unpack it and name a file in it"),
    (b"BZh", "it is packed with bzip2 (.bz2): unpack it and name a file in it"),
    (b"\xfd7zXZ\0", "it is packed with xz: unpack it and name a file in it"),
    (b"\x28\xb5\x2f\xfd", "it is packed with zstd: unpack it and name a file in it"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7z archive: unpack it and name a file in it"),
    (b"Rar!\x1a\x07", "it is a RAR archive: unpack it and name a file in it"),
    (b"MATLAB 5.0", "it is a .mat file of MATLAB, not a network's weights"),
    (b"\x7fELF", "it is a program, not a network's weights"),
    (b"\x89PNG", "it is a picture"),
    (b"\xff\xd8\xff", "it is a picture"),
    (b"%PDF", "it is a PDF document"),
];

const HDF5: &str = "it is an HDF5 file (.h5, as Keras writes), which retort doesn't read; save the \
    network's weights with PyTorch or as safetensors";
const GGML: &str = "it is a file of llama.cpp (GGUF), which retort doesn't read; take the safetensors it \
    was made of";
const ONNX: &str = "it is an ONNX file, which retort doesn't read: a graph without the names of its \
    layers; take the .pth or .safetensors it was exported from";
const TENSORFLOW: &str = "it is a file of TensorFlow, which retort doesn't read; save the network's \
    weights as safetensors";

/// What a file with this name is that begins so, if it is something else than weights that retort reads.
pub(super) fn of_head(path: &Path, head: &[u8]) -> Option<String> {
    let start = String::from_utf8_lossy(&head[..head.len().min(64)]).trim_start().to_lowercase();
    if start.starts_with("<!doctype") || start.starts_with("<html") {
        return Some("it is a web page: the server sent this in place of the file".to_owned());
    }
    if start.starts_with("version https://git-lfs") {
        return Some("it is a pointer of Git LFS: run `git lfs pull`".to_owned());
    }
    if let Some((_, what)) = BEGINNINGS.iter().find(|(begin, _)| head.starts_with(begin)) {
        return Some((*what).to_owned());
    }
    let named = |ending: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
    if named("onnx") || onnx(head) {
        return Some(ONNX.to_owned());
    }
    if head.get(4..8) == Some(b"TFL3") || named("tflite") || named("pb") {
        return Some(TENSORFLOW.to_owned());
    }
    if named("msgpack") {
        return Some(
            "it is a file of Flax, which retort doesn't read; save the network's weights as safetensors"
                .to_owned(),
        );
    }
    if start.starts_with(['{', '[']) {
        return Some(
            "it is a text in JSON, and no index of weights (`weight_map`); name the file with the weights"
                .to_owned(),
        );
    }
    None
}

/// Whether a file begins as ONNX does: the format's number (field 1), then who wrote it (field 2), or the
/// graph (field 7) or its operators (field 8).
fn onnx(head: &[u8]) -> bool {
    match head {
        [0x08, 1..=20, 0x12, length, rest @ ..] => {
            let name = &rest[..rest.len().min(usize::from(*length))];
            !name.is_empty() && name.iter().all(|b| b.is_ascii_graphic() || *b == b' ')
        }
        [0x08, 1..=20, 0x3a | 0x42, ..] => true,
        _ => false,
    }
}

/// What a zip is that has no `data.pkl`.
pub(super) fn of_zip(names: &[String]) -> String {
    let all = |ending: &str| !names.is_empty() && names.iter().all(|name| name.ends_with(ending));
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    if all(".npy") {
        return "it is a bundle of NumPy's arrays (.npz), which retort doesn't take for a network; save \
                the network's weights with PyTorch or as safetensors"
            .to_owned();
    }
    if has("model.weights.h5") {
        return "it is a file of Keras (.keras), which retort doesn't read; save the network's weights \
                with PyTorch or as safetensors"
            .to_owned();
    }
    format!("it is a zip without a data.pkl{}: unpack it and name a file in it", listed(names))
}

/// What a tar is that isn't PyTorch's.
pub(super) fn of_tar(names: &[String]) -> String {
    format!("it is a tar archive{}: unpack it and name a file in it", listed(names))
}

/// Names of an archive's entries, the first three.
fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let first: Vec<String> = names.iter().take(3).map(|name| super::fit::shown(name)).collect();
    let more = if names.len() > 3 { ", …" } else { "" };
    let count =
        if names.len() == 1 { "one file".to_owned() } else { format!("{} files", names.len()) };
    format!(" of {count} ({}{more})", first.join(", "))
}
