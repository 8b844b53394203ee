//! What a file is that is no picture which can be read.

/// What to do about a file that isn't damaged, but nothing that can be read.
pub(crate) const UNREADABLE: &str =
    "Save it as PNG or JPEG, or fetch it again; or leave such pictures out (on_corrupt = \"skip\")";

/// Its name, by its first bytes, if they tell.
pub(crate) fn name(bytes: &[u8]) -> Option<&'static str> {
    const STARTS: [(usize, &[u8], &str); 16] = [
        (0, b"version https://git-lfs", "a pointer of Git LFS: run `git lfs pull`"),
        (4, b"ftypavif", "an AVIF picture"),
        (4, b"ftypavis", "an AVIF animation"),
        (4, b"ftyphei", "a HEIC picture"),
        (4, b"ftypmif1", "a HEIF picture"),
        (4, b"ftyp", "a video"),
        (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
        (0, b"\xff\x0a", "a JPEG XL picture"),
        (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
        (0, b"8BPS", "a Photoshop file"),
        (0, b"%PDF", "a PDF file"),
        (0, b"\0\0\x01\0", "an icon"),
        (0, b"PK\x03\x04", "a zip archive"),
        (0, b"\x1f\x8b", "a gzip archive"),
        (0, b"\x89HDF", "an HDF5 file"),
        (0, b"\x93NUMPY", "a NumPy array"),
    ];
    let starts = |(at, magic, _): &&(usize, &[u8], &str)| {
        bytes.get(*at..).is_some_and(|rest| rest.starts_with(magic))
    };
    if let Some((_, _, name)) = STARTS.iter().find(starts) {
        return Some(name);
    }
    let text = bytes.trim_ascii_start();
    let begins = |with: &[u8]| text.get(..with.len()).is_some_and(|t| t.eq_ignore_ascii_case(with));
    if bytes.is_empty() {
        Some("empty")
    } else if begins(b"<!doctype html") || begins(b"<html") {
        Some("a web page, which a server sent in place of the picture")
    } else if begins(b"<svg") || begins(b"<?xml") {
        Some("an SVG drawing or another XML file")
    } else {
        None
    }
}
