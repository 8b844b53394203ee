//! The calls of a pickle whose outcome is data that this reader knows: the containers of Python's library,
//! and what PyTorch calls for a tensor. Every other outcome is an object that only has a name.

use super::machine::Machine;
use super::value::{Element, Id, Object, Storage, Value, View};
use crate::tensors::header::MOST_DIMENSIONS;

/// Arguments that are looked at.
const MOST_ARGUMENTS: usize = 8;
/// Values that all calls of a file may copy.
const MOST_COPIED: usize = 4_000_000;
/// How often a call may be the outcome of another one.
const MOST_WRAPPED: usize = 4;

impl Machine {
    /// What a call gives.
    pub(super) fn call(&mut self, callable: Id, arguments: Id) -> Result<Id, String> {
        let (mut callable, mut arguments) = (callable, arguments);
        for _ in 0..MOST_WRAPPED {
            let given = match self.value(arguments) {
                Value::List(given) => given[..given.len().min(MOST_ARGUMENTS)].to_vec(),
                _ => Vec::new(),
            };
            let Value::Class(names) = self.value(callable) else { break };
            let made = match (names.0.as_str(), names.1.as_str()) {
                ("collections", "OrderedDict") | ("builtins" | "__builtin__", "dict") => {
                    self.dict(given.first())?
                }
                // Its first argument makes values that a key lacks.
                ("collections", "defaultdict") => self.dict(given.get(1))?,
                ("builtins" | "__builtin__", "set" | "frozenset" | "list" | "tuple") => {
                    self.list(given.first())?
                }
                ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => {
                    self.tensor(&given, None)?
                }
                ("torch._utils", "_rebuild_tensor_v3") => {
                    let Some(Value::Class(dtype)) = given.get(6).map(|&g| self.value(g)) else {
                        break;
                    };
                    let element = Element::of_dtype(&dtype.1);
                    self.tensor(&given, Some(element))?
                }
                ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                    match given.first() {
                        Some(&data) => return Ok(data),
                        None => None,
                    }
                }
                // The tensor that the first argument makes of the third, of another class.
                ("torch._tensor", "_rebuild_from_type_v2") if given.len() > 2 => {
                    (callable, arguments) = (given[0], given[2]);
                    continue;
                }
                // What old protocols write for an object whose class is a kind of dictionary.
                ("copy_reg" | "copyreg", "_reconstructor") if given.len() > 2 => {
                    let items = match self.dict(Some(&given[2]))? {
                        Some(Value::Dict(items)) => items,
                        _ => Vec::new(),
                    };
                    let (class, list) = (given[0], Vec::new());
                    Some(Value::Object(Box::new(Object { class, items, list, state: None })))
                }
                _ => None,
            };
            match made {
                Some(value) => return Ok(self.add(value)),
                None => break,
            }
        }
        Ok(self.add(Object::of(callable)))
    }

    /// A dictionary with what another one holds, or a list of pairs; empty without one. None if it is
    /// something else.
    fn dict(&mut self, from: Option<&Id>) -> Result<Option<Value>, String> {
        let Some(&from) = from else { return Ok(Some(Value::Dict(Vec::new()))) };
        let pair = |&item: &Id| match self.value(item) {
            Value::List(pair) => <[Id; 2]>::try_from(&pair[..]).ok().map(|[k, v]| (k, v)),
            _ => None,
        };
        let (count, pairs) = match self.value(from) {
            Value::Dict(pairs) => (pairs.len(), Some(pairs.clone())),
            Value::List(items) => (items.len(), items.iter().map(pair).collect()),
            _ => (0, None),
        };
        self.charge(count)?;
        Ok(pairs.map(Value::Dict))
    }

    /// A list with what another one holds; empty without one. None if it is something else.
    fn list(&mut self, from: Option<&Id>) -> Result<Option<Value>, String> {
        let Some(&from) = from else { return Ok(Some(Value::List(Vec::new()))) };
        let items = match self.value(from) {
            Value::List(items) => Some(items.clone()),
            _ => None,
        };
        self.charge(items.as_ref().map_or(0, Vec::len))?;
        Ok(items.map(Value::List))
    }

    /// Counts values that were copied: one list may be copied often.
    fn charge(&mut self, count: usize) -> Result<(), String> {
        self.copied += count;
        if self.copied > MOST_COPIED {
            return Err(format!("its calls copy more than {MOST_COPIED} values"));
        }
        Ok(())
    }

    /// A tensor of `(storage, offset, size, stride, …)`; its type, if the storage doesn't tell. None if the
    /// first isn't a storage.
    fn tensor(&self, given: &[Id], element: Option<Element>) -> Result<Option<Value>, String> {
        let [storage, offset, size, stride, ..] = *given else {
            return Err("it makes a tensor of too little".to_owned());
        };
        let Value::Storage(storage) = self.value(storage) else { return Ok(None) };
        let (offset, shape) = (self.whole(offset)?, self.wholes(size)?);
        let element = element.unwrap_or_else(|| storage.element.clone());
        let strides = self.wholes(stride)?;
        let mut sizes = Vec::new();
        for size in shape {
            sizes.push(usize::try_from(size).map_err(|_| "a tensor is too large".to_owned())?);
        }
        if sizes.len() != strides.len() {
            let (n, m) = (sizes.len(), strides.len());
            return Err(format!("a tensor has {n} sizes and {m} strides"));
        }
        let storage = (**storage).clone();
        Ok(Some(Value::Tensor(Box::new(View { storage, element, offset, shape: sizes, strides }))))
    }

    fn whole(&self, id: Id) -> Result<u64, String> {
        match self.value(id) {
            Value::Number(n) if *n >= 0 => Ok(*n as u64),
            _ => Err("a tensor's size is no whole number".to_owned()),
        }
    }

    fn wholes(&self, id: Id) -> Result<Vec<u64>, String> {
        match self.value(id) {
            Value::List(list) if list.len() > MOST_DIMENSIONS => Err(format!(
                "a tensor has {} dimensions, and may have {MOST_DIMENSIONS}",
                list.len()
            )),
            Value::List(list) => list.iter().map(|&n| self.whole(n)).collect(),
            _ => Err("a tensor's sizes are no list".to_owned()),
        }
    }

    /// A key as text; the old containers write numbers for it, too.
    pub(super) fn key(&self, id: Id) -> Result<String, String> {
        match self.value(id) {
            Value::Text(text) => Ok(text.to_string()),
            Value::Number(n) => Ok(n.to_string()),
            _ => Err("the key of a storage or a tensor is no text".to_owned()),
        }
    }

    /// The element type that a storage's class names.
    pub(super) fn element(&self, class: Id) -> Result<Element, String> {
        match self.value(class) {
            Value::Class(names) => Ok(Element::of_class(&names.1)),
            Value::Text(name) => Ok(Element::of_class(name)),
            _ => Err("the type of a storage is no class".to_owned()),
        }
    }

    /// What a persistent id names: `("storage", type, key, location, count[, view])`, a class whose source
    /// lies beside it, or a tensor that the container lists.
    pub(super) fn persistent(&mut self, id: Id) -> Result<Id, String> {
        if let Some(tensors) = &self.tensors {
            let key = self.key(id)?;
            let view = tensors.get(&key).cloned();
            let view = view.ok_or_else(|| format!("it has no tensor {key:?}"))?;
            return Ok(self.add(Value::Tensor(Box::new(view))));
        }
        let fields = match self.value(id) {
            Value::List(fields) => fields[..fields.len().min(MOST_ARGUMENTS)].to_vec(),
            _ => Vec::new(),
        };
        let tag = match fields.first().map(|&tag| self.value(tag)) {
            Some(Value::Text(tag)) => tag.as_ref(),
            _ => "",
        };
        if tag == "module" && fields.len() > 1 {
            return Ok(fields[1]);
        }
        if tag != "storage" || fields.len() < 5 {
            return Err("it names something outside that is no storage".to_owned());
        }
        let element = self.element(fields[1])?;
        let untyped =
            matches!(self.value(fields[1]), Value::Class(names) if names.1 == "UntypedStorage");
        let (key, count) = (self.key(fields[2])?, self.whole(fields[4])?);
        let mut storage = Storage { key, element, untyped, count, offset: 0 };
        if let Some(Value::List(view)) = fields.get(5).map(|&view| self.value(view))
            && let [_, offset, size] = view[..]
        {
            let (offset, size) = (self.whole(offset)?, self.whole(size)?);
            let end = offset.checked_add(size).filter(|&end| end <= storage.count);
            let outside = || format!("a view of the storage {:?} lies outside of it", storage.key);
            let end = end.ok_or_else(outside)?;
            (storage.offset, storage.count) = (offset, end);
        }
        Ok(self.add(Value::Storage(Box::new(storage))))
    }
}
