//! MATLAB 5 files (`save -v6`, `-v7`), as far as lists of pictures need them: numbers, text, cells and
//! structs, compressed or not. Whatever the bytes are, reading ends, in memory proportional to them.
//!
//! MathWorks, "MAT-File Format".

use std::collections::BTreeMap;
use std::io::Read as _;

/// A variable, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Numbers(Vec<f64>),
    Text(String),
    Cells(Vec<Value>),
    /// `values` is `[structs, fields]`.
    Structs {
        fields: Vec<String>,
        values: Vec<Value>,
    },
    /// Sparse arrays, objects and functions.
    Other,
}

impl Value {
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number of a 1x1 array.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Numbers(numbers) if numbers.len() == 1 => numbers.first().copied(),
            _ => None,
        }
    }
}

const HEADER: usize = 128;
/// More than any list of pictures takes; a compressed variable that claims more is refused.
const LARGEST: u64 = 64 << 20;
/// How deep cells and structs may hold others.
const DEEPEST: usize = 8;

mod kind {
    pub const MATRIX: u32 = 14;
    pub const COMPRESSED: u32 = 15;
}

/// All variables, or why it can't be read.
pub(crate) fn read(bytes: &[u8]) -> Result<BTreeMap<String, Value>, String> {
    let header = bytes.get(..HEADER).ok_or("it is shorter than a header")?;
    let little = match &header[126..] {
        b"IM" => true,
        b"MI" => false,
        _ if header.starts_with(b"MATLAB 7.3") => {
            return Err("it is of version 7.3; save it with -v7".to_owned());
        }
        _ => return Err("it doesn't begin like one".to_owned()),
    };
    let mut reader = Reader { rest: &bytes[HEADER..], little };
    let mut variables = BTreeMap::new();
    while !reader.rest.is_empty() {
        let (kind, body) = reader.element(true)?;
        let inflated;
        let body = match kind {
            kind::MATRIX => body,
            kind::COMPRESSED => {
                inflated = inflate(body)?;
                let mut reader = Reader { rest: &inflated, little };
                match reader.element(true)? {
                    (kind::MATRIX, body) => body,
                    _ => continue,
                }
            }
            _ => continue,
        };
        let (name, value) = Reader { rest: body, little }.matrix(0)?;
        variables.insert(name, value);
    }
    Ok(variables)
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut inflated = Vec::new();
    let mut decoder = flate2::read::ZlibDecoder::new(bytes).take(LARGEST + 1);
    decoder.read_to_end(&mut inflated).map_err(|e| format!("a variable is damaged: {e}"))?;
    if inflated.len() as u64 > LARGEST {
        return Err("a variable is larger than any list of pictures".to_owned());
    }
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

    /// Name and value of an array, of whose element this is the content.
    fn matrix(mut self, depth: usize) -> Result<(String, Value), String> {
        if self.rest.is_empty() {
            return Ok((String::new(), Value::Numbers(Vec::new())));
        }
        if depth > DEEPEST {
            return Err(format!("its cells and structs are more than {DEEPEST} deep"));
        }
        let (_, flags) = self.element(false)?;
        let flags = Reader { rest: flags, little: self.little }.word()?;
        let dims = self.numbers()?;
        let count: f64 = dims.iter().product();
        let name = text(self.element(false)?.1);
        let value = match flags & 0xff {
            1 => Value::Cells(self.values(count, depth)?),
            2 => {
                let length = self.numbers()?.first().copied().unwrap_or_default() as usize;
                let (_, names) = self.element(false)?;
                if length == 0 && !names.is_empty() {
                    return Err("a struct's fields have no names".to_owned());
                }
                let fields: Vec<String> = names.chunks(length.max(1)).map(text).collect();
                let values = self.values(count * fields.len() as f64, depth)?;
                Value::Structs { fields, values }
            }
            4 => {
                let (kind, bytes) = self.element(false)?;
                match kind {
                    // 16 bits a character; or bytes, in UTF-8.
                    4 | 17 => {
                        let units = numbers(kind_of_units(kind), bytes, self.little)?;
                        let units: Vec<u16> = units.into_iter().map(|unit| unit as u16).collect();
                        Value::Text(String::from_utf16_lossy(&units))
                    }
                    _ => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
                }
            }
            6..=15 => Value::Numbers(self.numbers()?),
            _ => Value::Other,
        };
        Ok((name, value))
    }

    /// So many arrays. Each takes at least 8 bytes, so a count that the rest can't hold is known
    /// before anything is set aside for it.
    fn values(&mut self, count: f64, depth: usize) -> Result<Vec<Value>, String> {
        if !(0.0..=(self.rest.len() / 8) as f64).contains(&count) {
            return Err(format!("it claims to hold {count} values, more than it has room for"));
        }
        let mut values = Vec::with_capacity(count as usize);
        for _ in 0..count as usize {
            let (kind, body) = self.element(false)?;
            if kind != kind::MATRIX {
                return Err(format!("a cell or field is of type {kind} instead of an array"));
            }
            values.push(Reader { rest: body, little: self.little }.matrix(depth + 1)?.1);
        }
        Ok(values)
    }

    fn numbers(&mut self) -> Result<Vec<f64>, String> {
        let (kind, bytes) = self.element(false)?;
        numbers(kind, bytes, self.little)
    }
}

/// UTF-16 is stored as 16-bit numbers are.
fn kind_of_units(kind: u32) -> u32 {
    if kind == 17 { 4 } else { kind }
}

/// Up to the first zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
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
