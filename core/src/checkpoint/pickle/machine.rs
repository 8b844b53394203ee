//! A pickle's stack machine over sizes: how many tensors a value holds and how long their names become,
//! without the values.

use super::super::header::MOST_TENSORS;
use super::{bytes, refuse, short, skip};
use std::collections::HashMap;
use std::io::{BufRead, Read as _};
use std::rc::Rc;

/// Operations in all pickles of a file; a state dictionary has some thirty a tensor.
const MOST_OPERATIONS: usize = 2_000_000;
/// Bytes of the names of all tensors together.
const LONGEST_NAMES: u64 = 64 << 20;
/// Bytes of a string that may name a module or a class; longer ones are not kept.
const LONGEST_MODULE: usize = 256;
/// Digits of a number that is a key, or of a place in a list.
const DIGITS: u64 = 20;

/// What is known of a value. Nothing in it is smaller than what the reader will make.
#[derive(Clone, Default)]
struct Value {
    /// A string, if it is short enough to name a module.
    text: Option<Rc<str>>,
    /// Bytes of the longest string in it.
    longest: u64,
    /// Tensors and storages in it.
    tensors: u64,
    /// Bytes of their names, from this value on.
    names: u64,
    /// Where the memo has a copy.
    memo: Option<u32>,
}

impl Value {
    /// Takes a value in, under a key of so many bytes.
    fn hold(&mut self, value: &Value, key: u64) -> Result<(), String> {
        let prefix = value.tensors.saturating_mul(key.saturating_add(1));
        self.longest = self.longest.max(value.longest);
        self.tensors = self.tensors.saturating_add(value.tensors);
        self.names = self.names.saturating_add(value.names).saturating_add(prefix);
        if self.tensors > MOST_TENSORS as u64 {
            return Err(format!("it holds more than {MOST_TENSORS} tensors"));
        }
        if self.names > LONGEST_NAMES {
            return Err(format!("the names of its tensors have more than {LONGEST_NAMES} bytes"));
        }
        Ok(())
    }

    fn all(values: &[Value]) -> Result<Value, String> {
        let mut all = Value::default();
        for value in values {
            all.hold(value, DIGITS)?;
        }
        Ok(all)
    }

    /// Keys and values in turn.
    fn hold_pairs(&mut self, items: &[Value]) -> Result<(), String> {
        for pair in items.chunks(2) {
            let key = pair[0].longest.max(DIGITS);
            self.hold(pair.last().unwrap_or(&pair[0]), key)?;
            self.longest = self.longest.max(key);
        }
        Ok(())
    }
}

/// What runs all pickles of a file.
#[derive(Default)]
pub(super) struct Machine {
    operations: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    /// The newest whole number.
    pub number: u64,
    /// The newest class, without its module.
    pub class: String,
}

impl Machine {
    /// Reads to the end of one pickle.
    pub fn run(&mut self, reader: &mut impl BufRead) -> Result<(), String> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        loop {
            self.operations += 1;
            if self.operations > MOST_OPERATIONS {
                return Err(format!(
                    "pickles of more than {MOST_OPERATIONS} operations aren't a checkpoint's"
                ));
            }
            let [operation] = bytes::<1>(reader)?;
            if operation == b'.' {
                return Ok(());
            }
            self.step(operation, reader)?;
        }
    }

    fn step(&mut self, operation: u8, reader: &mut impl BufRead) -> Result<(), String> {
        match operation {
            0x80 => skip(reader, 1)?,
            0x95 => skip(reader, 8)?,
            b'N' | b')' | b']' | b'}' | 0x88 | 0x89 | 0x8f => self.stack.push(Value::default()),
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
                let top = self.top()?.clone();
                self.stack.push(top);
            }
            b'I' | b'L' | b'F' | b'P' => {
                let text = line(reader)?;
                self.number = text.trim_end_matches('L').parse().unwrap_or(self.number);
                self.stack
                    .push(Value { tensors: u64::from(operation == b'P'), ..Value::default() });
            }
            b'K' => self.number(reader, 1)?,
            b'M' => self.number(reader, 2)?,
            b'J' => self.number(reader, 4)?,
            b'G' => {
                skip(reader, 8)?;
                self.stack.push(Value::default());
            }
            0x8a => self.long(reader, 1)?,
            0x8b => self.long(reader, 4)?,
            b'S' | b'V' => {
                let text = line(reader)?;
                // A byte of Latin-1 may take two in UTF-8; escapes only get shorter.
                self.string(
                    2 * text.len() as u64,
                    Some(text).filter(|t| t.len() <= LONGEST_MODULE),
                );
            }
            b'U' | 0x8c => self.text(reader, 1)?,
            b'T' | b'X' => self.text(reader, 4)?,
            0x8d => self.text(reader, 8)?,
            b'C' => self.raw(reader, 1)?,
            b'B' => self.raw(reader, 4)?,
            0x8e | 0x96 => self.raw(reader, 8)?,
            b'q' => {
                let [index] = bytes(reader)?;
                self.put(u32::from(index))?;
            }
            b'r' => {
                let index = u32::from_le_bytes(bytes(reader)?);
                self.put(index)?;
            }
            b'p' => {
                let index = index(reader)?;
                self.put(index)?;
            }
            0x94 => self.put(self.memo.len() as u32)?,
            b'h' => {
                let [index] = bytes(reader)?;
                self.get(u32::from(index))?;
            }
            b'j' => {
                let index = u32::from_le_bytes(bytes(reader)?);
                self.get(index)?;
            }
            b'g' => {
                let index = index(reader)?;
                self.get(index)?;
            }
            b'c' | b'i' => {
                let (module, name) = (line(reader)?, line(reader)?);
                refuse(&module, &name)?;
                if operation == b'i' {
                    return Err("it makes objects as no PyTorch does (INST)".to_owned());
                }
                self.class = name;
                self.stack.push(Value::default());
            }
            _ => self.combine(operation)?,
        }
        Ok(())
    }

    /// Operations that make one value of others.
    fn combine(&mut self, operation: u8) -> Result<(), String> {
        match operation {
            b'Q' => {
                self.pop()?;
                self.stack.push(Value { tensors: 1, ..Value::default() });
            }
            b't' | b'l' | 0x91 => {
                let all = Value::all(&self.since_mark()?)?;
                self.stack.push(all);
            }
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0x84..operation {
                    items.push(self.pop()?);
                }
                let all = Value::all(&items)?;
                self.stack.push(all);
            }
            b'a' => {
                let item = self.pop()?;
                self.top()?.hold(&item, DIGITS)?;
            }
            b'e' | 0x90 => {
                let all = Value::all(&self.since_mark()?)?;
                self.top()?.hold(&all, DIGITS)?;
            }
            b'd' => {
                let mut dict = Value::default();
                dict.hold_pairs(&self.since_mark()?)?;
                self.stack.push(dict);
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.top()?.hold_pairs(&[key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.top()?.hold_pairs(&items)?;
            }
            // Whatever is called keeps no more than its arguments, and may make keys of their strings.
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                self.pop()?;
                let mut made = Value::default();
                made.hold(&arguments, arguments.longest)?;
                self.stack.push(made);
            }
            0x92 => {
                let (named, arguments, _class) = (self.pop()?, self.pop()?, self.pop()?);
                let made = Value::all(&[named, arguments])?;
                self.stack.push(made);
            }
            b'b' => {
                let (state, object) = (self.pop()?, self.pop()?);
                let mut built = Value::all(&[object.clone(), state])?;
                // The reader keeps the memo in step with what was built.
                if let Some(index) = object.memo {
                    built.memo = Some(index);
                    self.memo.insert(index, built.clone());
                }
                built.memo = None;
                self.stack.push(built);
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |value: &Value| value.text.as_deref().unwrap_or_default().to_owned();
                let (module, name) = (text(&module), text(&name));
                refuse(&module, &name)?;
                self.class = name;
                self.stack.push(Value::default());
            }
            other => return Err(format!("byte {other:#04x} is no operation of a pickle")),
        }
        Ok(())
    }

    fn top(&mut self) -> Result<&mut Value, String> {
        if self.marks.last() == Some(&self.stack.len()) {
            return Err(empty());
        }
        self.stack.last_mut().ok_or_else(empty)
    }

    fn pop(&mut self) -> Result<Value, String> {
        if self.marks.last() == Some(&self.stack.len()) {
            return Err(empty());
        }
        self.stack.pop().ok_or_else(empty)
    }

    fn since_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or_else(empty)?))
    }

    fn put(&mut self, index: u32) -> Result<(), String> {
        let top = self.top()?;
        top.memo = Some(index);
        let value = top.clone();
        self.memo.insert(index, value);
        Ok(())
    }

    fn get(&mut self, index: u32) -> Result<(), String> {
        let value = self.memo.get(&index).cloned();
        self.stack.push(value.ok_or_else(|| format!("it has no value {index} to go back to"))?);
        Ok(())
    }

    /// A whole number of 1, 2 or 4 bytes; one below 0 is as good as 0 here.
    fn number(&mut self, reader: &mut impl BufRead, width: usize) -> Result<(), String> {
        let number = length(reader, width)?;
        self.number = if number > i32::MAX as u64 { 0 } else { number };
        self.stack.push(Value::default());
        Ok(())
    }

    /// A whole number of any size.
    fn long(&mut self, reader: &mut impl BufRead, width: usize) -> Result<(), String> {
        let size = length(reader, width)?;
        if size <= 8 {
            self.number = length(reader, size as usize)?;
        } else {
            skip(reader, size)?;
        }
        self.stack.push(Value::default());
        Ok(())
    }

    fn string(&mut self, longest: u64, text: Option<String>) {
        let text = text.map(Rc::from);
        self.stack.push(Value { text, longest, ..Value::default() });
    }

    /// A string behind its length.
    fn text(&mut self, reader: &mut impl BufRead, width: usize) -> Result<(), String> {
        let size = length(reader, width)?;
        if size > LONGEST_MODULE as u64 {
            skip(reader, size)?;
            self.string(size, None);
            return Ok(());
        }
        let mut bytes = vec![0; size as usize];
        reader.read_exact(&mut bytes).map_err(short)?;
        self.string(size, Some(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(())
    }

    /// Bytes behind their length.
    fn raw(&mut self, reader: &mut impl BufRead, width: usize) -> Result<(), String> {
        let size = length(reader, width)?;
        skip(reader, size)?;
        self.stack.push(Value::default());
        Ok(())
    }
}

fn empty() -> String {
    "it takes a value where none is".to_owned()
}

/// A number of up to 8 bytes.
fn length(reader: &mut impl BufRead, width: usize) -> Result<u64, String> {
    let mut bytes = [0; 8];
    reader.read_exact(&mut bytes[..width]).map_err(short)?;
    Ok(u64::from_le_bytes(bytes))
}

/// A place in the memo, in digits.
fn index(reader: &mut impl BufRead) -> Result<u32, String> {
    let text = line(reader)?;
    text.trim_end().parse().map_err(|_| format!("{text:?} is no place in a pickle's memo"))
}

fn line(reader: &mut impl BufRead) -> Result<String, String> {
    let mut bytes = Vec::new();
    reader.by_ref().take(1 << 20).read_until(b'\n', &mut bytes).map_err(short)?;
    if bytes.pop() != Some(b'\n') {
        return Err(short(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
