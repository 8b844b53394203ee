//! How a pack describes itself, and how hyperparameters are checked: by the host before a plugin
//! runs, and by the plugin itself.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What `describe` returns, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pack {
    /// Number of the interface that the pack was built for.
    pub interface: u32,
    /// The SDK that built it, such as `retort-sdk 0.1.0`.
    pub sdk: String,
    /// Its losses.
    pub losses: Vec<Definition>,
}

/// One loss, as its source file describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// Name, in `snake_case`.
    pub name: String,
    /// First line: what it does, in words. Then the equation with its symbols.
    pub doc: String,
    /// The paper.
    #[serde(default)]
    pub paper: String,
    /// Hyperparameters.
    #[serde(default)]
    pub hyper: Vec<Field>,
    /// The loss's source, if the pack carries it.
    #[serde(default)]
    pub source: String,
}

/// One hyperparameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// Name, in `snake_case`.
    pub name: String,
    /// Symbol, meaning and unit.
    pub doc: String,
    /// Type.
    pub kind: Kind,
    /// The value used where none is given.
    pub default: Value,
    /// The values allowed, for numbers.
    #[serde(default)]
    pub range: Range,
    /// The values allowed, for choices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
}

/// Type of a hyperparameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A real number.
    Float,
    /// A whole number, not negative.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// One of a few words.
    Choice,
}

/// An interval; an absent end is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Least value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Greatest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Whether `min` itself is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub above: bool,
}

impl Range {
    /// Whether `x` lies in the interval. NaN and infinities never do.
    pub fn contains(&self, x: f64) -> bool {
        x.is_finite()
            && self.min.is_none_or(|min| if self.above { x > min } else { x >= min })
            && self.max.is_none_or(|max| x <= max)
    }
}

impl core::fmt::Display for Range {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let low = if self.above { "above" } else { "at least" };
        match (self.min, self.max) {
            (Some(min), Some(max)) if self.above => write!(f, "above {min}, at most {max}"),
            (Some(min), Some(max)) => write!(f, "{min} to {max}"),
            (Some(min), None) => write!(f, "{low} {min}"),
            (None, Some(max)) => write!(f, "at most {max}"),
            (None, None) => f.write_str("any"),
        }
    }
}

impl From<std::ops::RangeFull> for Range {
    fn from(_: std::ops::RangeFull) -> Self {
        Range::default()
    }
}
impl From<std::ops::RangeFrom<f64>> for Range {
    fn from(r: std::ops::RangeFrom<f64>) -> Self {
        Range { min: Some(r.start), ..Range::default() }
    }
}
impl From<std::ops::RangeInclusive<f64>> for Range {
    fn from(r: std::ops::RangeInclusive<f64>) -> Self {
        Range { min: Some(*r.start()), max: Some(*r.end()), above: false }
    }
}
impl From<std::ops::RangeFrom<i32>> for Range {
    fn from(r: std::ops::RangeFrom<i32>) -> Self {
        Range { min: Some(f64::from(r.start)), ..Range::default() }
    }
}
impl From<std::ops::RangeInclusive<i32>> for Range {
    fn from(r: std::ops::RangeInclusive<i32>) -> Self {
        Range { min: Some(f64::from(*r.start())), max: Some(f64::from(*r.end())), above: false }
    }
}

/// Numbers greater than `min`.
pub fn above(min: f64) -> Range {
    Range { min: Some(min), max: None, above: true }
}

impl Definition {
    /// Checks hyperparameters given by a user and fills in the defaults: one value a field.
    ///
    /// The message names the key, what is wrong with it, and the nearest key or the range.
    pub fn resolve(&self, given: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        for key in given.keys() {
            if !self.hyper.iter().any(|f| f.name == *key) {
                return Err(self.unknown(key));
            }
        }
        let mut out = Map::new();
        for field in &self.hyper {
            let value = match given.get(&field.name) {
                Some(value) => field.check(value).map_err(|e| format!("{}: {e}", self.name))?,
                None => field.default.clone(),
            };
            out.insert(field.name.clone(), value);
        }
        Ok(out)
    }

    fn unknown(&self, key: &str) -> String {
        let names: Vec<&str> = self.hyper.iter().map(|f| f.name.as_str()).collect();
        if names.is_empty() {
            return format!("{} has no hyperparameters, so none is named {key}", self.name);
        }
        let all = names.join(", ");
        match nearest(key, &names) {
            Some(near) => format!(
                "{} has no hyperparameter {key}; did you mean {near}? It has: {all}",
                self.name
            ),
            None => format!("{} has no hyperparameter {key}; it has: {all}", self.name),
        }
    }
}

impl Field {
    /// The value in the field's own type, or what is wrong with it.
    fn check(&self, value: &Value) -> Result<Value, String> {
        let name = &self.name;
        let wrong = |wants: &str| format!("{name} must be {wants}, not {value}");
        match self.kind {
            Kind::Boolean => value.as_bool().map(Value::from).ok_or_else(|| wrong("true or false")),
            Kind::Choice => match value.as_str() {
                Some(word) if self.choices.iter().any(|c| c == word) => Ok(Value::from(word)),
                _ => Err(wrong(&format!("one of {}", self.choices.join(", ")))),
            },
            Kind::Float | Kind::Integer => {
                let x = value.as_f64().ok_or_else(|| wrong("a number"))?;
                if self.kind == Kind::Integer && (x.fract() != 0.0 || x < 0.0) {
                    return Err(wrong("a whole number"));
                }
                if !self.range.contains(x) {
                    return Err(format!("{name} = {value} is out of range: {}", self.range));
                }
                Ok(if self.kind == Kind::Integer { Value::from(x as u64) } else { Value::from(x) })
            }
        }
    }
}

/// The candidate most like `word`, if one is like enough to be a slip of the keyboard.
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let best = candidates.iter().map(|c| (edits(word, c), *c)).min()?;
    (best.0 <= 1 + word.chars().count().max(best.1.chars().count()) / 3).then_some(best.1)
}

/// Edits from one word to the other: letters put in, left out, changed, or two neighbours swapped.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn nearest_finds_slips_and_leaves_strangers_alone() {
        assert_eq!(nearest("simga", &["sigma", "delta"]), Some("sigma"));
        assert_eq!(nearest("dleta", &["sigma", "delta"]), Some("delta"));
        assert_eq!(nearest("rdk", &["crd", "rkd"]), Some("rkd"), "a swap is one slip");
        assert_eq!(nearest("momentum", &["sigma", "delta"]), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
