//! MATLAB 5 files (`save -v6`, `-v7`), as far as lists of pictures need them: numbers, text, cells and
//! structs, compressed or not. Only the variables that are asked for are taken apart, and all of a file
//! together has one budget, so that whatever the bytes are, reading ends soon and takes little memory.
//!
//! MathWorks, "MAT-File Format".

use std::collections::BTreeMap;
use std::io::Read as _;

/// A variable, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Of a 1x1 array.
    Number(f64),
    Text(String),
    Cells(Vec<Value>),
    /// `values` is `[structs, fields]`.
    Structs {
        fields: Vec<String>,
        values: Vec<Value>,
    },
    /// Arrays of more or less than one number, sparse ones, objects and functions.
    Other,
}

impl Value {
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }
}

const HEADER: usize = 128;
/// Bytes that the wanted variables of a file may have, inflated: four times those of Cars-196.
const LARGEST: u64 = 32 << 20;
/// Values in all cells and structs of a file: nine times those of Cars-196.
const MOST_VALUES: usize = 1 << 20;
/// Variables in a file.
const MOST_VARIABLES: usize = 4096;
/// How deep cells and structs may hold others.
const DEEPEST: usize = 8;
/// Fields of a struct, and dimensions of an array.
const MOST_FIELDS: usize = 256;
/// What a variable begins with: type, flags, dimensions, name.
const HEAD: u64 = 1024;

mod kind {
    pub const MATRIX: u32 = 14;
    pub const COMPRESSED: u32 = 15;
}

/// Whether it is a file of version 7.3 (`save -v7.3`), which is another format behind the same header.
pub(crate) fn is_hdf5(bytes: &[u8]) -> bool {
    const HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";
    let holds = |at: usize| bytes.get(at..).is_some_and(|rest| rest.starts_with(HDF5));
    bytes.starts_with(b"MATLAB 7.3") || holds(0) || holds(4 * HEADER)
}

/// The variables of these names that are there, or why the file can't be read.
pub(crate) fn read(bytes: &[u8], wanted: &[&str]) -> Result<BTreeMap<String, Value>, String> {
    let header = bytes.get(..HEADER).ok_or("it is shorter than a header")?;
    let little = match &header[126..] {
        b"IM" => true,
        b"MI" => false,
        _ => return Err("it doesn't begin like one".to_owned()),
    };
    let mut reader = Reader { rest: &bytes[HEADER..], little };
    let (mut variables, mut count) = (BTreeMap::new(), 0);
    let mut budget = Budget { bytes: LARGEST, values: MOST_VALUES };
    while !reader.rest.is_empty() {
        count += 1;
        if count > MOST_VARIABLES {
            return Err(format!("it holds more than {MOST_VARIABLES} variables"));
        }
        let (kind, body) = reader.element(true)?;
        let inflated;
        let element = match kind {
            kind::MATRIX => Some(body),
            kind::COMPRESSED => {
                inflated = inflate(body, little, wanted, &mut budget)?;
                let mut reader = Reader { rest: &inflated, little };
                (!inflated.is_empty()).then(|| reader.element(true)).transpose()?.map(|(_, b)| b)
            }
            _ => None,
        };
        if let Some(body) = element
            && let Some(name) = (Reader { rest: body, little }).name()?
            && wanted.contains(&name.as_str())
        {
            if kind == kind::MATRIX {
                budget.take(body.len())?;
            }
            let value = Reader { rest: body, little }.matrix(0, &mut budget)?;
            variables.insert(name, value);
        }
    }
    Ok(variables)
}

/// What the rest of a file may still take.
struct Budget {
    bytes: u64,
    values: usize,
}

impl Budget {
    fn take(&mut self, bytes: usize) -> Result<(), String> {
        let left = self.bytes.checked_sub(bytes as u64);
        self.bytes = left.ok_or("it is larger than any list of pictures")?;
        Ok(())
    }
}

/// The array that is compressed here; nothing if it isn't one, or none that is wanted, of which no more
/// than the name is inflated.
fn inflate(
    bytes: &[u8],
    little: bool,
    wanted: &[&str],
    budget: &mut Budget,
) -> Result<Vec<u8>, String> {
    let damaged = |e: std::io::Error| format!("a variable is damaged: {e}");
    let mut decoder = flate2::read::ZlibDecoder::new(bytes);
    let mut inflated = Vec::new();
    decoder.by_ref().take(HEAD).read_to_end(&mut inflated).map_err(damaged)?;
    let mut head = Reader { rest: &inflated, little };
    let is_array = head.word()? == kind::MATRIX;
    let _size = head.word()?;
    if !is_array || !head.name()?.is_some_and(|name| wanted.contains(&name.as_str())) {
        return Ok(Vec::new());
    }
    decoder.take(budget.bytes + 1).read_to_end(&mut inflated).map_err(damaged)?;
    budget.take(inflated.len())?;
    Ok(inflated)
}

struct Reader<'a> {
    rest: &'a [u8],
    little: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or("it ends too early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn word(&mut self) -> Result<u32, String> {
        let &[a, b, c, d] = self.take(4)? else { return Err("it ends too early".to_owned()) };
        Ok(if self.little {
            u32::from_le_bytes([a, b, c, d])
        } else {
            u32::from_be_bytes([a, b, c, d])
        })
    }

    /// The next element's type and bytes. Elements fill multiples of 8 bytes, but for compressed
    /// ones, and for the last of a file that was cut there.
    fn element(&mut self, top: bool) -> Result<(u32, &'a [u8]), String> {
        let word = self.word()?;
        if word >> 16 != 0 {
            let body = self.take(4)?;
            let body = body.get(..(word >> 16) as usize).ok_or("a short element is too long")?;
            return Ok((word & 0xffff, body));
        }
        let size = self.word()? as usize;
        let body = self.take(size)?;
        if word != kind::COMPRESSED {
            let padding = size.next_multiple_of(8) - size;
            self.take(if top { padding.min(self.rest.len()) } else { padding })?;
        }
        Ok((word, body))
    }

    /// Name of an array, of whose element this is the content; none of an empty one.
    fn name(mut self) -> Result<Option<String>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (_flags, _dims) = (self.element(false)?, self.element(false)?);
        Ok(Some(text(self.element(false)?.1)))
    }

    /// An array, of whose element this is the content.
    fn matrix(mut self, depth: usize, budget: &mut Budget) -> Result<Value, String> {
        if self.rest.is_empty() {
            return Ok(Value::Other);
        }
        if depth > DEEPEST {
            return Err(format!("its cells and structs are more than {DEEPEST} deep"));
        }
        let (_, flags) = self.element(false)?;
        let flags = Reader { rest: flags, little: self.little }.word()?;
        let (kind, dims) = self.element(false)?;
        if dims.len() > 8 * MOST_FIELDS {
            return Err(format!("an array has more than {MOST_FIELDS} dimensions"));
        }
        let count: f64 = numbers(kind, dims, self.little)?.iter().product();
        let _name = self.element(false)?;
        Ok(match flags & 0xff {
            1 => Value::Cells(self.values(count, depth, budget)?),
            2 => {
                let (kind, length) = self.element(false)?;
                let length = one(kind, length, self.little)?.unwrap_or_default() as usize;
                let (_, names) = self.element(false)?;
                if length == 0 && !names.is_empty() {
                    return Err("a struct's fields have no names".to_owned());
                }
                let names = names.chunks(length.max(1));
                if names.len() > MOST_FIELDS {
                    let n = names.len();
                    return Err(format!("a struct has {n} fields, more than {MOST_FIELDS}"));
                }
                let fields: Vec<String> = names.map(text).collect();
                let values = self.values(count * fields.len() as f64, depth, budget)?;
                Value::Structs { fields, values }
            }
            4 => {
                let (kind, bytes) = self.element(false)?;
                match kind {
                    // 16 bits a character; or bytes, in UTF-8.
                    4 | 17 => Value::Text(self.utf16(bytes)?),
                    _ => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
                }
            }
            6..=15 => {
                let (kind, bytes) = self.element(false)?;
                one(kind, bytes, self.little)?.map_or(Value::Other, Value::Number)
            }
            _ => Value::Other,
        })
    }

    /// So many arrays. Each takes at least 8 bytes, so a count that the rest can't hold is known
    /// before anything is set aside for it.
    fn values(
        &mut self,
        count: f64,
        depth: usize,
        budget: &mut Budget,
    ) -> Result<Vec<Value>, String> {
        if !(0.0..=(self.rest.len() / 8) as f64).contains(&count) {
            return Err(format!("it claims to hold {count} values, more than it has room for"));
        }
        let left = budget.values.checked_sub(count as usize);
        budget.values =
            left.ok_or_else(|| format!("it holds more than {MOST_VALUES} cells and fields"))?;
        let mut values = Vec::with_capacity(count as usize);
        for _ in 0..count as usize {
            let (kind, body) = self.element(false)?;
            if kind != kind::MATRIX {
                return Err(format!("a cell or field is of type {kind} instead of an array"));
            }
            values.push(Reader { rest: body, little: self.little }.matrix(depth + 1, budget)?);
        }
        Ok(values)
    }

    fn utf16(&self, bytes: &[u8]) -> Result<String, String> {
        let (units, []) = bytes.as_chunks::<2>() else {
            return Err("a text ends in the middle of a character".to_owned());
        };
        let read = if self.little { u16::from_le_bytes } else { u16::from_be_bytes };
        let units = units.iter().map(|&unit| read(unit));
        Ok(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
    }
}

/// Up to the first zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// The number of an array that has one.
fn one(kind: u32, bytes: &[u8], little: bool) -> Result<Option<f64>, String> {
    if bytes.len() > size_of::<f64>() {
        return Ok(None);
    }
    Ok(match numbers(kind, bytes, little)?[..] {
        [number] => Some(number),
        _ => None,
    })
}

/// Numbers, of whatever type they were stored as to save space.
#[expect(clippy::cast_lossless, reason = "one line for all types")]
fn numbers(kind: u32, bytes: &[u8], little: bool) -> Result<Vec<f64>, String> {
    macro_rules! of {
        ($type:ty) => {{
            let (chunks, []) = bytes.as_chunks::<{ size_of::<$type>() }>() else {
                return Err("an array of numbers ends in the middle of one".to_owned());
            };
            let read = if little { <$type>::from_le_bytes } else { <$type>::from_be_bytes };
            Ok(chunks.iter().map(|&chunk| read(chunk) as f64).collect())
        }};
    }
    match kind {
        1 => of!(i8),
        2 => of!(u8),
        3 => of!(i16),
        4 => of!(u16),
        5 => of!(i32),
        6 => of!(u32),
        7 => of!(f32),
        9 => of!(f64),
        12 => of!(i64),
        13 => of!(u64),
        _ => Err(format!("numbers are of the unknown type {kind}")),
    }
}
