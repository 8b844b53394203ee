//! Hyperparameters: a struct whose fields carry documentation, defaults and ranges.

use crate::schema::{Field, Kind, Range};
use serde_json::Map;

/// What the [`hyper!`](crate::hyper) macro writes for a loss.
pub trait Hyper: Sized + Send + Sync + 'static {
    /// The doc comment: first line, then the equation.
    const DOC: &'static str;

    /// Properties of `retort loss check` that don't hold by definition, each with the reason.
    const EXEMPT: &'static [(&'static str, &'static str)] = &[];

    /// The hyperparameters in the order of the source.
    fn fields() -> Vec<Field>;

    /// Reads values that [`Definition::resolve`](crate::schema::Definition::resolve) has checked.
    fn from_json(values: &Map<String, serde_json::Value>) -> Result<Self, String>;
}

/// A type that a hyperparameter can have: `f64`, `usize`, `bool`, an enum made by
/// [`choice!`](crate::choice), or a `Vec` of numbers or of such an enum (at most 64).
pub trait Value: Sized {
    /// Type in the schema.
    const KIND: Kind;
    /// Words allowed, for choices.
    const CHOICES: &'static [&'static str] = &[];

    /// The value as JSON.
    fn to_json(&self) -> serde_json::Value;

    /// The value from JSON, if it is one.
    fn from_json(value: &serde_json::Value) -> Option<Self>;
}

macro_rules! value {
    ($($ty:ty, $kind:ident, |$v:ident| $from:expr;)*) => { $(impl Value for $ty {
        const KIND: Kind = Kind::$kind;
        fn to_json(&self) -> serde_json::Value { serde_json::Value::from(*self) }
        fn from_json($v: &serde_json::Value) -> Option<Self> { $from }
    })* };
}
value! {
    f64, Float, |v| v.as_f64();
    usize, Integer, |v| v.as_u64().and_then(|x| usize::try_from(x).ok());
    bool, Boolean, |v| v.as_bool();
}

/// A list of numbers or words; of switches there are none.
impl<V: Value> Value for Vec<V> {
    const KIND: Kind = match V::KIND {
        Kind::Float => Kind::Floats,
        Kind::Integer => Kind::Integers,
        Kind::Choice => Kind::Choices,
        _ => panic!("a list holds numbers, or words of a `choice!`"),
    };
    const CHOICES: &'static [&'static str] = V::CHOICES;
    fn to_json(&self) -> serde_json::Value {
        self.iter().map(V::to_json).collect()
    }
    fn from_json(value: &serde_json::Value) -> Option<Self> {
        value.as_array()?.iter().map(V::from_json).collect()
    }
}

/// A text, or none: for what isn't a loss's.
impl Value for Option<String> {
    const KIND: Kind = Kind::Text;
    fn to_json(&self) -> serde_json::Value {
        self.clone().into()
    }
    fn from_json(value: &serde_json::Value) -> Option<Self> {
        (value.is_null() || value.is_string()).then(|| value.as_str().map(str::to_owned))
    }
}

/// One field's schema. Not for authors: the macro calls it.
#[doc(hidden)]
pub fn field<V: Value>(name: &str, doc: &str, default: &V, range: Range) -> Field {
    Field {
        name: name.to_owned(),
        doc: unindent(doc),
        kind: V::KIND,
        default: default.to_json(),
        range,
        choices: V::CHOICES.iter().map(ToString::to_string).collect(),
    }
}

/// One field's value. Not for authors: the macro calls it.
#[doc(hidden)]
pub fn read<V: Value>(
    values: &Map<String, serde_json::Value>,
    name: &str,
    default: V,
) -> Result<V, String> {
    match values.get(name) {
        None => Ok(default),
        Some(value) => V::from_json(value).ok_or_else(|| format!("{name} can't be {value}")),
    }
}

/// Doc lines without the blank that `///` leaves before each, nor blank lines around.
pub(crate) fn unindent(doc: &str) -> String {
    let lines: Vec<&str> = doc.lines().map(|l| l.strip_prefix(' ').unwrap_or(l)).collect();
    lines.join("\n").trim().to_owned()
}

/// Declares a loss's hyperparameters: `name: type = default => range`, each with its doc.
///
/// The range may be left out; it is `0.0..`, `0.0..=1.0`, `1..` for integers, or `above(0.0)`. A property that
/// can't hold by definition (`retort loss check` names them, here with `_` for a blank) is given up above the
/// struct: `#[exempt(order = "the first sample of a class is its anchor")]`.
#[macro_export]
macro_rules! hyper {
    ($(#[doc = $doc:literal])* $(#[exempt($($property:ident = $reason:literal),+ $(,)?)])? pub struct $name:ident {
        $($(#[doc = $fdoc:literal])* $field:ident : $ty:ty = $default:expr $(=> $range:expr)?),* $(,)?
    }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub struct $name { $($(#[doc = $fdoc])* pub $field: $ty),* }

        impl Default for $name {
            fn default() -> Self { Self { $($field: $default),* } }
        }

        impl $crate::Hyper for $name {
            const DOC: &'static str = concat!($($doc, "\n"),*);
            $(const EXEMPT: &'static [(&'static str, &'static str)] =
                &[$((stringify!($property), $reason)),+];)?

            fn fields() -> Vec<$crate::schema::Field> {
                vec![$($crate::field::<$ty>(
                    stringify!($field),
                    concat!($($fdoc, "\n"),*),
                    &$default,
                    { #[allow(unused_mut, unused_assignments)]
                      let mut range = $crate::schema::Range::default();
                      $(range = $crate::schema::Range::from($range);)?
                      range },
                )),*]
            }

            #[allow(unused_variables)]
            fn from_json(values: &$crate::serde_json::Map<String, $crate::serde_json::Value>) -> Result<Self, String> {
                Ok(Self { $($field: $crate::read(values, stringify!($field), $default)?),* })
            }
        }
    };
}

/// Declares a hyperparameter that is one of a few words: an enum of unit variants with the word
/// each has in configurations.
///
/// ```
/// retort_sdk::choice! {
///     /// What the loss looks at.
///     pub enum On { Feature = "feature", Embedding = "embedding" }
/// }
/// ```
#[macro_export]
macro_rules! choice {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vmeta])* #[doc = concat!("`", $word, "`")] $variant),+ }

        impl $crate::Value for $name {
            const KIND: $crate::schema::Kind = $crate::schema::Kind::Choice;
            const CHOICES: &'static [&'static str] = &[$($word),+];
            fn to_json(&self) -> $crate::serde_json::Value {
                $crate::serde_json::Value::from(match self { $(Self::$variant => $word),+ })
            }
            fn from_json(value: &$crate::serde_json::Value) -> Option<Self> {
                match value.as_str()? { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
