//! Settings of an experiment: structs whose fields carry documentation, defaults and ranges, of which files,
//! flags and docs are made.

use retort_sdk::schema::Range;

/// One key of an experiment file.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name.
    pub key: &'static str,
    /// What it sets.
    pub doc: &'static str,
    /// The numbers that it may be.
    pub range: fn() -> Option<Range>,
}

impl Setting {
    /// What it sets, on one line.
    pub fn line(&self) -> String {
        self.doc.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
    }
}

/// A number that a range can be for.
pub trait Number: Copy + std::fmt::Debug {
    /// As the range's type.
    fn number(self) -> f64;
}

impl Number for usize {
    fn number(self) -> f64 {
        self as f64
    }
}

impl Number for f64 {
    fn number(self) -> f64 {
        self
    }
}

/// Refuses a number out of its range; the message names the key.
pub fn check<N: Number>(key: &str, value: N, range: Range) -> Result<(), String> {
    if range.contains(value.number()) {
        return Ok(());
    }
    let kind = if value.number().is_finite() { "" } else { "a number, " };
    Err(format!("{key} = {value:?}: it must be {kind}{range}"))
}

/// Declares a table of an experiment file: `name: type = default => range`, each with its doc; the range may be
/// left out. Gives the struct its `Default`, `SETTINGS`, and `in_range`.
#[macro_export]
macro_rules! settings {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[doc = $doc:literal])+ $(#[serde($($serde:tt)*)])? $field:ident : $ty:ty = $default:expr $(=> $range:expr)?),* $(,)?
    }) => {
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        $(#[$meta])*
        pub struct $name { $($(#[doc = $doc])+ $(#[serde($($serde)*)])? pub $field: $ty),* }

        impl Default for $name {
            fn default() -> Self { Self { $($field: $default),* } }
        }

        impl $name {
            /// The keys of the table.
            pub const SETTINGS: &'static [$crate::Setting] = &[$($crate::Setting {
                key: stringify!($field),
                doc: concat!($($doc, "\n"),+),
                range: || { $(return Some(retort_sdk::schema::Range::from($range));)? #[allow(unreachable_code)] None },
            }),*];

            /// Refuses a number out of its range; the message names the key.
            pub fn in_range(&self) -> std::result::Result<(), String> {
                $($($crate::check_setting(stringify!($field), self.$field, retort_sdk::schema::Range::from($range))?;)?)*
                Ok(())
            }
        }
    };
}
