//! A pickle's stack machine: from operations to values. It calls nothing and makes nothing but lists.

use super::Fault;
use super::refuse::refuse;
use super::value::{Id, LONGEST_TEXT, Object, Value, View};
use std::collections::HashMap;
use std::io::{BufRead, Read as _, sink};

/// Operations in all pickles of a file; a state dictionary has some thirty a tensor.
const MOST_OPERATIONS: usize = 2_000_000;

/// What runs all pickles of a file.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// All values that were ever made.
    pub values: Vec<Value>,
    /// What persistent ids name, where a container lists its tensors apart.
    pub tensors: Option<HashMap<String, View>>,
    operations: usize,
    /// Values that calls copied.
    pub copied: usize,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl Machine {
    /// Reads to the end of one pickle; the value it is.
    pub fn run(&mut self, reader: &mut impl BufRead) -> Result<Id, Fault> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        loop {
            self.operations += 1;
            if self.operations > MOST_OPERATIONS {
                return Err(format!(
                    "pickles of more than {MOST_OPERATIONS} operations aren't a checkpoint's"
                )
                .into());
            }
            let [operation] = bytes::<1>(reader)?;
            if operation == b'.' {
                return Ok(self.pop()?);
            }
            self.step(operation, reader)?;
        }
    }

    /// A value.
    pub fn value(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    /// Adds a value, which nothing names yet.
    pub fn add(&mut self, value: Value) -> Id {
        self.values.push(value);
        (self.values.len() - 1) as Id
    }

    fn push(&mut self, value: Value) {
        let id = self.add(value);
        self.stack.push(id);
    }

    fn step(&mut self, operation: u8, reader: &mut impl BufRead) -> Result<(), Fault> {
        match operation {
            0x80 => skip(reader, 1)?,
            0x95 => skip(reader, 8)?,
            b'N' => self.push(Value::Nothing),
            0x88 => self.push(Value::Number(1)),
            0x89 => self.push(Value::Number(0)),
            b')' | b']' | 0x8f => self.push(Value::List(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            b'(' => self.marks.push(self.stack.len()),
            b'0' if self.marks.last() == Some(&self.stack.len()) => {
                self.marks.pop();
            }
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.since_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'I' | b'L' => {
                let text = line(reader)?;
                let number = text.trim_end_matches('L').parse();
                self.push(number.map_or(Value::Nothing, Value::Number));
            }
            b'F' => {
                line(reader)?;
                self.push(Value::Nothing);
            }
            b'G' => {
                skip(reader, 8)?;
                self.push(Value::Nothing);
            }
            b'K' | b'M' => {
                let number = length(reader, if operation == b'K' { 1 } else { 2 })?;
                self.push(Value::Number(number as i64));
            }
            b'J' => {
                let number = i32::from_le_bytes(bytes(reader)?);
                self.push(Value::Number(i64::from(number)));
            }
            0x8a => self.long(reader, 1)?,
            0x8b => self.long(reader, 4)?,
            b'S' | b'V' => {
                let text = line(reader)?;
                let quoted = text.len() > 1 && text.starts_with(['\'', '"']);
                let inner =
                    if operation == b'S' && quoted { &text[1..text.len() - 1] } else { &text };
                self.push(string(inner));
            }
            b'U' | 0x8c => self.text(reader, 1)?,
            b'T' | b'X' => self.text(reader, 4)?,
            0x8d => self.text(reader, 8)?,
            b'C' => self.raw(reader, 1)?,
            b'B' => self.raw(reader, 4)?,
            0x8e | 0x96 => self.raw(reader, 8)?,
            b'q' | b'r' | b'p' | 0x94 => {
                let place = self.place(operation, reader)?;
                let top = self.top()?;
                self.memo.insert(place, top);
            }
            b'h' | b'j' | b'g' => {
                let place = self.place(operation, reader)?;
                let value = self.memo.get(&place).copied();
                let none = || format!("it has no value {place} to go back to");
                self.stack.push(value.ok_or_else(none)?);
            }
            b'c' => {
                let (module, name) = (line(reader)?, line(reader)?);
                self.class(module, name)?;
            }
            b'i' => {
                let (module, name) = (line(reader)?, line(reader)?);
                self.class(module, name)?;
                let class = self.pop()?;
                self.since_mark()?;
                self.push(Object::of(class));
            }
            b'P' => {
                let id = self.add(string(&line(reader)?));
                let named = self.persistent(id)?;
                self.stack.push(named);
            }
            _ => self.combine(operation)?,
        }
        Ok(())
    }

    /// Operations that make one value of others.
    fn combine(&mut self, operation: u8) -> Result<(), Fault> {
        match operation {
            b'Q' => {
                let id = self.pop()?;
                let named = self.persistent(id)?;
                self.stack.push(named);
            }
            b't' | b'l' | 0x91 => {
                let items = self.since_mark()?;
                self.push(Value::List(items));
            }
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0x84..operation {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Value::List(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(&[item])?;
            }
            b'e' | 0x90 => {
                let items = self.since_mark()?;
                self.extend(&items)?;
            }
            b'd' => {
                let items = self.since_mark()?;
                self.push(Value::Dict(Vec::new()));
                self.insert(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(&[key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.insert(&items)?;
            }
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let made = self.call(callable, arguments)?;
                self.stack.push(made);
            }
            0x81 => {
                let (_arguments, class) = (self.pop()?, self.pop()?);
                self.push(Object::of(class));
            }
            0x92 => {
                let (_named, _arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.push(Object::of(class));
            }
            b'o' => {
                let class = self.since_mark()?.first().copied().ok_or_else(empty)?;
                self.push(Object::of(class));
            }
            b'b' => {
                let state = self.pop()?;
                let built = self.top()?;
                if let Value::Object(object) = &mut self.values[built as usize] {
                    object.state = Some(state);
                }
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) =
                    (self.value(module), self.value(name))
                else {
                    return Err("it names a class by what is no name".into());
                };
                let (module, name) = (module.to_string(), name.to_string());
                self.class(module, name)?;
            }
            other => return Err(format!("byte {other:#04x} is no operation of a pickle").into()),
        }
        Ok(())
    }

    fn class(&mut self, module: String, name: String) -> Result<(), Fault> {
        let longest = module.len().max(name.len());
        if longest as u64 > LONGEST_TEXT {
            return Err(format!("the name of a class has {longest} bytes").into());
        }
        refuse(&module, &name).map_err(Fault::Other)?;
        self.push(Value::Class(Box::new((module, name))));
        Ok(())
    }

    /// Adds to the list on top of the stack.
    fn extend(&mut self, items: &[Id]) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.values[top as usize] {
            Value::List(list) => list.extend(items),
            Value::Object(object) => object.list.extend(items),
            _ => return Err("it adds to what is no list".to_owned()),
        }
        Ok(())
    }

    /// Adds keys and values, in turn, to the dictionary on top of the stack.
    fn insert(&mut self, items: &[Id]) -> Result<(), String> {
        if !items.len().is_multiple_of(2) {
            return Err("it has a key without a value".to_owned());
        }
        let pairs = items.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        let top = self.top()?;
        match &mut self.values[top as usize] {
            Value::Dict(dict) => dict.extend(pairs),
            Value::Object(object) => object.items.extend(pairs),
            _ => return Err("it sets keys of what is no dictionary".to_owned()),
        }
        Ok(())
    }

    fn top(&self) -> Result<Id, String> {
        if self.marks.last() == Some(&self.stack.len()) {
            return Err(empty());
        }
        self.stack.last().copied().ok_or_else(empty)
    }

    fn pop(&mut self) -> Result<Id, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or_else(empty)?))
    }

    /// The place in the memo that an operation names: in one byte, in four, in digits, or the next one.
    fn place(&self, operation: u8, reader: &mut impl BufRead) -> Result<u32, String> {
        Ok(match operation {
            b'q' | b'h' => u32::from(bytes::<1>(reader)?[0]),
            b'r' | b'j' => u32::from_le_bytes(bytes(reader)?),
            b'p' | b'g' => digits(reader)?,
            _ => self.memo.len() as u32,
        })
    }

    /// A whole number of any size; one that no shape can have is as good as none.
    fn long(&mut self, reader: &mut impl BufRead, width: usize) -> Result<(), String> {
        let size = length(reader, width)?;
        if size > 8 {
            skip(reader, size)?;
            self.push(Value::Nothing);
            return Ok(());
        }
        let mut bytes = [0; 8];
        reader.read_exact(&mut bytes[..size as usize]).map_err(short)?;
        let unused = 64 - 8 * size as u32;
        let number = i64::from_le_bytes(bytes).checked_shl(unused).unwrap_or(0);
        self.push(Value::Number(number.checked_shr(unused).unwrap_or(0)));
        Ok(())
    }

    /// A string behind its length.
    fn text(&mut self, reader: &mut impl BufRead, width: usize) -> Result<(), String> {
        let size = length(reader, width)?;
        if size > LONGEST_TEXT {
            skip(reader, size)?;
            self.push(Value::Long(size));
            return Ok(());
        }
        let mut bytes = vec![0; size as usize];
        reader.read_exact(&mut bytes).map_err(short)?;
        // Python 2 kept any bytes as strings.
        self.push(String::from_utf8(bytes).map_or(Value::Nothing, |text| string(&text)));
        Ok(())
    }

    /// Bytes behind their length.
    fn raw(&mut self, reader: &mut impl BufRead, width: usize) -> Result<(), String> {
        let size = length(reader, width)?;
        skip(reader, size)?;
        self.push(Value::Nothing);
        Ok(())
    }
}

fn string(text: &str) -> Value {
    match text.len() as u64 {
        size if size > LONGEST_TEXT => Value::Long(size),
        _ => Value::Text(text.into()),
    }
}

fn empty() -> String {
    "it takes a value where none is".to_owned()
}

fn short(_: std::io::Error) -> String {
    "it ends in the middle of a pickle".to_owned()
}

pub(super) fn bytes<const N: usize>(reader: &mut impl BufRead) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).map_err(short)?;
    Ok(bytes)
}

fn skip(reader: &mut impl BufRead, n: u64) -> Result<(), String> {
    let copied = std::io::copy(&mut reader.by_ref().take(n), &mut sink()).map_err(short)?;
    if copied == n { Ok(()) } else { Err(short(std::io::ErrorKind::UnexpectedEof.into())) }
}

/// A number of up to 8 bytes.
fn length(reader: &mut impl BufRead, width: usize) -> Result<u64, String> {
    let mut bytes = [0; 8];
    reader.read_exact(&mut bytes[..width]).map_err(short)?;
    Ok(u64::from_le_bytes(bytes))
}

/// A place in the memo, in digits.
fn digits(reader: &mut impl BufRead) -> Result<u32, String> {
    let text = line(reader)?;
    text.trim_end().parse().map_err(|_| {
        let text: String = text.chars().take(40).collect();
        format!("{text:?} is no place in a pickle's memo")
    })
}

fn line(reader: &mut impl BufRead) -> Result<String, String> {
    let mut bytes = Vec::new();
    reader.by_ref().take(1 << 20).read_until(b'\n', &mut bytes).map_err(short)?;
    if bytes.pop() != Some(b'\n') {
        return Err(short(std::io::ErrorKind::UnexpectedEof.into()));
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
