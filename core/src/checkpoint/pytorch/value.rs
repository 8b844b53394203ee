//! What a pickle makes: values that name each other by number, so that one may lie in many, or in itself.

use burn::tensor::{BoolStore, DType};

/// A value's number.
pub(super) type Id = u32;

/// Bytes of a string that is kept: a name, or a key.
pub(super) const LONGEST_TEXT: u64 = 256;

/// A value, as far as it matters where tensors are.
#[derive(Debug)]
pub(super) enum Value {
    /// None, fractions, bytes, and whatever else names nothing.
    Nothing,
    /// A whole number.
    Number(i64),
    /// A string.
    Text(Box<str>),
    /// A string too long for a name, by its bytes.
    Long(u64),
    /// A list, a tuple or a set.
    List(Vec<Id>),
    /// Keys and values.
    Dict(Vec<(Id, Id)>),
    /// A class or a function: its module and its name. Nothing but its name is known of it.
    Class(Box<(String, String)>),
    /// Numbers in a row.
    Storage(Box<Storage>),
    /// A tensor.
    Tensor(Box<View>),
    /// An object of a class that says nothing to this reader.
    Object(Box<Object>),
}

/// An object that was made and filled by calls which weren't made.
#[derive(Debug)]
pub(super) struct Object {
    /// Its class, or the function that would have made it.
    pub class: Id,
    /// What it holds by key: its class is a kind of dictionary.
    pub items: Vec<(Id, Id)>,
    /// What it holds in a row.
    pub list: Vec<Id>,
    /// Its attributes.
    pub state: Option<Id>,
}

/// The type of a storage's numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Element {
    /// The type; of those that Burn doesn't have, what they are called.
    pub dtype: Result<DType, String>,
    /// Bytes of one; 0 if that isn't known.
    pub size: u64,
}

/// Numbers in a row, as a pickle declares them.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    /// Its name in the container.
    pub key: String,
    /// Type of its numbers; of an untyped one, bytes.
    pub element: Element,
    /// Whether its tensors say which type they have.
    pub untyped: bool,
    /// Numbers of it.
    pub count: u64,
    /// Where a part of it begins that stands for all: only the oldest files have such.
    pub offset: u64,
}

/// A tensor: a view of a storage.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub storage: Storage,
    /// Type of its numbers.
    pub element: Element,
    /// Its first number in the storage.
    pub offset: u64,
    pub shape: Vec<usize>,
    /// Numbers from one to the next along each dimension.
    pub strides: Vec<u64>,
}

impl Object {
    /// One that holds nothing yet.
    pub fn of(class: Id) -> Value {
        let (items, list, state) = (Vec::new(), Vec::new(), None);
        Value::Object(Box::new(Object { class, items, list, state }))
    }
}

impl Value {
    /// What a class is called.
    pub fn class_name(&self) -> String {
        match self {
            Value::Class(names) => format!("{}.{}", names.0, names.1),
            _ => "an object of no class that is named".to_owned(),
        }
    }
}

impl Element {
    fn known(dtype: DType, size: u64) -> Self {
        Element { dtype: Ok(dtype), size }
    }

    fn other(name: &str, size: u64) -> Self {
        Element { dtype: Err(name.to_owned()), size }
    }

    /// That of a storage's class.
    pub fn of_class(class: &str) -> Self {
        match class.strip_suffix("Storage").unwrap_or(class) {
            "Double" => Self::known(DType::F64, 8),
            "Float" => Self::known(DType::F32, 4),
            "Half" => Self::known(DType::F16, 2),
            "BFloat16" => Self::known(DType::BF16, 2),
            "Long" => Self::known(DType::I64, 8),
            "Int" => Self::known(DType::I32, 4),
            "Short" => Self::known(DType::I16, 2),
            "Char" => Self::known(DType::I8, 1),
            "Byte" | "Untyped" => Self::known(DType::U8, 1),
            "Bool" => Self::known(DType::Bool(BoolStore::Native), 1),
            "ComplexFloat" => Self::other("complex64", 8),
            "ComplexDouble" => Self::other("complex128", 16),
            "QInt8" => Self::other("qint8", 1),
            "QUInt8" => Self::other("quint8", 1),
            "QInt32" => Self::other("qint32", 4),
            "QUInt4x2" => Self::other("quint4x2", 1),
            "QUInt2x4" => Self::other("quint2x4", 1),
            _ => Self::other(class, 0),
        }
    }

    /// That of `torch.<name>`.
    pub fn of_dtype(name: &str) -> Self {
        match name {
            "float64" | "double" => Self::known(DType::F64, 8),
            "float32" | "float" => Self::known(DType::F32, 4),
            "float16" | "half" => Self::known(DType::F16, 2),
            "bfloat16" => Self::known(DType::BF16, 2),
            "int64" | "long" => Self::known(DType::I64, 8),
            "int32" | "int" => Self::known(DType::I32, 4),
            "int16" | "short" => Self::known(DType::I16, 2),
            "int8" => Self::known(DType::I8, 1),
            "uint64" => Self::known(DType::U64, 8),
            "uint32" => Self::known(DType::U32, 4),
            "uint16" => Self::known(DType::U16, 2),
            "uint8" => Self::known(DType::U8, 1),
            "bool" => Self::known(DType::Bool(BoolStore::Native), 1),
            _ => Self::other(name, 0),
        }
    }
}
