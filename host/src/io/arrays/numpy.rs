//! NumPy's files (`.npy`, and those in an `.npz`).
//!
//! NumPy Enhancement Proposal 1, "A Simple File Format for NumPy Arrays": a header, which is a Python
//! dictionary with the three keys `descr`, `fortran_order` and `shape`, then the elements. (The crates that
//! read it want other features of `half` and `num-integer`, with which Burn would have to be built anew.)

use super::{Array, Values};
use burn::tensor::f16;

/// What such a file begins with.
pub const MAGIC: &[u8] = b"\x93NUMPY";
/// Bytes of a header; those of plain arrays have some hundred, and NumPy itself reads 10,000.
const LONGEST_HEADER: usize = 1 << 16;
/// Dimensions of an array: NumPy's own limit.
const MOST_DIMENSIONS: usize = 64;

/// What a header says.
struct Header<'a> {
    /// Order of bytes (`<`, `>`, `|`), kind (`f`, `i`, …) and size.
    descr: &'a str,
    fortran: bool,
    shape: Vec<usize>,
}

/// The array of a file, under a name of ours.
pub fn read(bytes: &[u8], name: &str) -> Result<Array, String> {
    let (start, length) = match bytes.get(6..12) {
        Some(&[1, _, low, high, ..]) => (10, usize::from(u16::from_le_bytes([low, high]))),
        Some(&[2 | 3, _, a, b, c, d]) => (12, u32::from_le_bytes([a, b, c, d]) as usize),
        Some(&[version, ..]) => {
            return Err(format!("it is of version {version}, which isn't known"));
        }
        _ => return Err("it ends before its header".to_owned()),
    };
    if length > LONGEST_HEADER {
        return Err(format!("its header has {length} bytes, and may have {LONGEST_HEADER}"));
    }
    let (_, rest) = bytes.split_at_checked(start).ok_or("it ends before its header")?;
    let (header, data) = rest.split_at_checked(length).ok_or("it ends in its header")?;
    let Header { descr, fortran, shape } = Header::parse(header)?;
    let array = |values| Array { name: name.to_owned(), shape: shape.clone(), values };
    let mut letters = descr.chars();
    let (Some(order @ ('<' | '>' | '|')), Some(kind)) = (letters.next(), letters.next()) else {
        return Ok(array(Values::Unknown(descr.to_owned())));
    };
    if kind == 'O' {
        return Ok(array(Values::Unknown("Python objects".to_owned())));
    }
    let Ok(size) = letters.as_str().parse::<usize>() else {
        return Ok(array(Values::Unknown(descr.to_owned())));
    };
    // Characters of texts are UTF-32.
    let element = if kind == 'U' { size.checked_mul(4) } else { Some(size) };
    let element = element.filter(|&size| size > 0).ok_or("its elements have no size")?;
    let needed = shape.iter().try_fold(element, |bytes, &d| bytes.checked_mul(d));
    let data = needed.and_then(|needed| data.get(..needed)).ok_or_else(|| {
        let has = data.len();
        format!(
            "its header claims an array {shape:?} of {descr}, but {has} bytes follow: it was cut off, or is \
             damaged"
        )
    })?;
    // Where the n-th element, row by row, is.
    let place = |n: usize| match (fortran, shape.as_slice()) {
        (true, &[rows, columns]) => n % columns * rows + n / columns,
        _ => n,
    };
    let count = data.len() / element;
    let elements = (0..count).map(|n| &data[place(n) * element..][..element]);
    macro_rules! numbers {
        ($kind:ident, $type:ty, $as:ty) => {{
            let read = if order == '>' { <$type>::from_be_bytes } else { <$type>::from_le_bytes };
            let chunks = elements.filter_map(<[u8]>::first_chunk);
            Values::$kind(chunks.map(|bytes| read(*bytes) as $as).collect())
        }};
    }
    Ok(array(match (kind, element) {
        ('f', 2) => {
            let read = if order == '>' { f16::from_be_bytes } else { f16::from_le_bytes };
            let chunks = elements.filter_map(<[u8]>::first_chunk);
            Values::Floats(chunks.map(|bytes| read(*bytes).to_f32()).collect())
        }
        ('f', 4) => numbers!(Floats, f32, f32),
        ('f', 8) => numbers!(Floats, f64, f32),
        ('b', 1) => Values::Signed(elements.map(|bytes| i64::from(bytes[0] != 0)).collect()),
        ('i', 1) => numbers!(Signed, i8, i64),
        ('i', 2) => numbers!(Signed, i16, i64),
        ('i', 4) => numbers!(Signed, i32, i64),
        ('i', 8) => numbers!(Signed, i64, i64),
        ('u', 1) => numbers!(Unsigned, u8, u64),
        ('u', 2) => numbers!(Unsigned, u16, u64),
        ('u', 4) => numbers!(Unsigned, u32, u64),
        ('u', 8) => numbers!(Unsigned, u64, u64),
        ('S', _) => Values::Names(elements.map(bytes_text).collect::<Result<_, _>>()?),
        ('U', _) => {
            let text = |bytes| utf32_text(bytes, order == '>');
            Values::Names(elements.map(text).collect::<Result<_, _>>()?)
        }
        _ => Values::Unknown(descr.to_owned()),
    }))
}

impl<'a> Header<'a> {
    fn parse(header: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(header).map_err(|_| "its header isn't UTF-8")?;
        let after = |key: &str| {
            let at = text
                .find(&format!("'{key}':"))
                .ok_or_else(|| format!("its header has no {key}"))?;
            Ok::<_, String>(text[at + key.len() + 3..].trim_start())
        };
        let descr = after("descr")?;
        let descr = descr.strip_prefix('\'').and_then(|text| text.split_once('\''));
        // Anything else is a record of several fields.
        let descr = descr.map_or("a record", |(descr, _)| descr);
        let fortran = match after("fortran_order")? {
            order if order.starts_with("True") => true,
            order if order.starts_with("False") => false,
            _ => return Err("its header has no order of elements".to_owned()),
        };
        let shape = after("shape")?.strip_prefix('(').and_then(|text| text.split_once(')'));
        let (shape, _) = shape.ok_or("its header has no shape")?;
        let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
        let size =
            |size: &str| size.parse().map_err(|_| format!("its header has the size {size:?}"));
        let shape: Vec<usize> =
            sizes.take(MOST_DIMENSIONS + 1).map(size).collect::<Result<_, String>>()?;
        if shape.len() > MOST_DIMENSIONS {
            return Err(format!("it has more than {MOST_DIMENSIONS} dimensions"));
        }
        Ok(Header { descr, fortran, shape })
    }
}

/// A text in bytes, padded with zeros.
fn bytes_text(bytes: &[u8]) -> Result<String, String> {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let text = std::str::from_utf8(&bytes[..end]);
    text.map(str::to_owned).map_err(|_| "a text isn't UTF-8".to_owned())
}

/// A text in 32 bits a character, padded with zeros.
fn utf32_text(bytes: &[u8], big: bool) -> Result<String, String> {
    let (characters, _) = bytes.as_chunks::<4>();
    let read = if big { u32::from_be_bytes } else { u32::from_le_bytes };
    let end = characters.iter().rposition(|c| *c != [0; 4]).map_or(0, |last| last + 1);
    let text = characters[..end].iter().map(|&c| char::from_u32(read(c))).collect::<Option<_>>();
    text.ok_or_else(|| "a text has what is no character".to_owned())
}
