//! How a pack describes itself, and how hyperparameters are checked: by the host before a plugin
//! runs, and by the plugin itself.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

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
    /// Properties of `retort loss check` that don't hold by definition, each with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exempt: BTreeMap<String, String>,
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
#[serde(rename_all = "lowercase", from = "String")]
pub enum Kind {
    /// A real number.
    Float,
    /// A whole number, not negative.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// One of a few words.
    Choice,
    /// A list of real numbers, each in the range.
    Floats,
    /// A list of whole numbers, each in the range.
    Integers,
    /// A list of some of a few words.
    Choices,
    /// Any text, or none. A loss's hyperparameters can't be one.
    Text,
    /// A kind of another version: its loss can't be used here, and all others of its pack can.
    Unknown,
}

impl Kind {
    /// The kinds that this version knows, by name.
    const KNOWN: [(&str, Kind); 8] = [
        ("float", Kind::Float),
        ("integer", Kind::Integer),
        ("boolean", Kind::Boolean),
        ("choice", Kind::Choice),
        ("floats", Kind::Floats),
        ("integers", Kind::Integers),
        ("choices", Kind::Choices),
        ("text", Kind::Text),
    ];

    /// What a list's elements are; none if it is no list.
    pub const fn element(self) -> Option<Kind> {
        match self {
            Kind::Floats => Some(Kind::Float),
            Kind::Integers => Some(Kind::Integer),
            Kind::Choices => Some(Kind::Choice),
            _ => None,
        }
    }

    /// Whether its values are words, or lists of words.
    const fn has_words(self) -> bool {
        matches!(self, Kind::Choice | Kind::Choices)
    }
}

impl From<String> for Kind {
    fn from(name: String) -> Self {
        let known = Kind::KNOWN.iter().find(|(known, _)| *known == name);
        known.map_or(Kind::Unknown, |(_, kind)| *kind)
    }
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

/// Bytes of a description: the JSON text that `describe` returns.
pub const DESCRIPTION_BYTES: usize = 4 << 20;
const LOSSES: usize = 1024;
const FIELDS: usize = 64;
const CHOICES: usize = 64;
const CHOICE_BYTES: usize = 64;
/// Elements of a list.
const ELEMENTS: usize = 64;
const SDK_BYTES: usize = 128;
const TEXT_BYTES: usize = 16 << 10;
const SOURCE_BYTES: usize = 1 << 20;

/// The greatest whole number that a hyperparameter can be: all up to it are numbers of JSON.
const MOST: u64 = 1 << 53;

/// Keys of a loss in an experiment file, which no hyperparameter can be called.
pub const RESERVED: [&str; 4] = ["name", "weight", "lr_factor", "hyper"];

/// Whether a text can be the name of a loss or of a hyperparameter: `[a-z][a-z0-9_]{0,63}`. Names
/// become parts of files' names, of keys and of messages.
pub fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// A name as a message can hold it, whatever is in it.
fn shown(name: &str) -> String {
    let start: String = name.chars().take(64).collect();
    let more = if start.len() < name.len() { "…" } else { "" };
    format!("{start:?}{more}")
}

fn check_name(name: &str) -> Result<(), String> {
    if is_name(name) {
        return Ok(());
    }
    Err("a name is a small letter and up to 63 more, digits or underscores".to_owned())
}

fn check_length(what: &str, bytes: usize, most: usize) -> Result<(), String> {
    if bytes <= most {
        return Ok(());
    }
    Err(format!("its {what} has {bytes} bytes, more than {most}"))
}

fn check_count(what: &str, count: usize, most: usize) -> Result<(), String> {
    if count <= most { Ok(()) } else { Err(format!("it has {count} {what}, more than {most}")) }
}

/// The first text that is there twice.
fn twice<'a>(texts: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = std::collections::BTreeSet::new();
    texts.into_iter().find(|text| !seen.insert(*text))
}

impl Pack {
    /// Checks all that a pack says about itself; `interface` is the number that its file carries.
    ///
    /// The message names the loss, the hyperparameter and what is wrong.
    pub fn check(&self, interface: u32) -> Result<(), String> {
        if self.interface != interface {
            return Err(format!(
                "its description says interface {}, but the file carries {interface}",
                self.interface
            ));
        }
        check_length("description of the SDK", self.sdk.len(), SDK_BYTES)?;
        if self.losses.is_empty() {
            return Err("it has no loss".to_owned());
        }
        check_count("losses", self.losses.len(), LOSSES)?;
        for loss in &self.losses {
            loss.check().map_err(|why| format!("loss {}: {why}", shown(&loss.name)))?;
        }
        match twice(self.losses.iter().map(|l| l.name.as_str())) {
            Some(name) => Err(format!("it has two losses called {name}")),
            None => Ok(()),
        }
    }
}

impl Definition {
    /// Checks what the loss says about itself: names, lengths, defaults, ranges and choices.
    pub fn check(&self) -> Result<(), String> {
        check_name(&self.name)?;
        check_length("doc", self.doc.len(), TEXT_BYTES)?;
        check_length("paper", self.paper.len(), TEXT_BYTES)?;
        check_length("source", self.source.len(), SOURCE_BYTES)?;
        check_count("hyperparameters", self.hyper.len(), FIELDS)?;
        check_count("exemptions", self.exempt.len(), FIELDS)?;
        for (property, reason) in &self.exempt {
            let of = |why: String| format!("exemption {}: {why}", shown(property));
            check_name(property).map_err(of)?;
            check_length("reason", reason.len(), TEXT_BYTES).map_err(of)?;
        }
        for field in &self.hyper {
            field
                .check_itself()
                .map_err(|why| format!("hyperparameter {}: {why}", shown(&field.name)))?;
        }
        match twice(self.hyper.iter().map(|f| f.name.as_str())) {
            Some(name) => Err(format!("it has two hyperparameters called {name}")),
            None => Ok(()),
        }
    }

    /// Checks hyperparameters given by a user and fills in the defaults: one value a field.
    ///
    /// The message names the key, what is wrong with it, and the nearest key or the range.
    pub fn resolve(&self, given: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        resolve(&self.name, "hyperparameter", &self.hyper, given)
    }
}

/// Checks values given for fields and fills in the defaults: one value a field. `of` is what has the fields,
/// and `word` what one of them is called there.
///
/// The message names the key, what is wrong with it, and the nearest key or the range.
pub fn resolve(
    of: &str,
    word: &str,
    fields: &[Field],
    given: &Map<String, Value>,
) -> Result<Map<String, Value>, String> {
    let names: Vec<&str> = fields.iter().map(|f| f.name.as_str()).collect();
    if let Some(key) = given.keys().find(|key| !names.contains(&key.as_str())) {
        if names.is_empty() {
            return Err(format!("{of} has no {word}s, so none is named {key}"));
        }
        let near = nearest(key, &names).map(|near| format!("; did you mean {near}? It has: "));
        let near = near.unwrap_or_else(|| "; it has: ".to_owned());
        return Err(format!("{of} has no {word} {key}{near}{}", names.join(", ")));
    }
    if let Some(field) = fields.iter().find(|field| field.kind == Kind::Unknown) {
        return Err(format!(
            "{of} has a {word} of a kind that this version doesn't know, {}: update retort",
            field.name
        ));
    }
    let mut out = Map::new();
    for field in fields {
        // A default, too, gets the field's own type: resolving twice gives the same.
        let value = given.get(&field.name).unwrap_or(&field.default);
        let value = field.check(value).map_err(|e| format!("{of}: {e}"))?;
        // A text that is none stays out: TOML has no null.
        if !value.is_null() {
            out.insert(field.name.clone(), value);
        }
    }
    Ok(out)
}

impl Field {
    /// Checks what the pack says about the field.
    fn check_itself(&self) -> Result<(), String> {
        check_name(&self.name)?;
        if RESERVED.contains(&self.name.as_str()) {
            return Err(format!(
                "an experiment file has keys {} for every loss, so call it something else",
                RESERVED.join(", ")
            ));
        }
        check_length("doc", self.doc.len(), TEXT_BYTES)?;
        let Range { min, max, above } = self.range;
        if min.into_iter().chain(max).any(|end| !end.is_finite())
            || matches!((min, max), (Some(min), Some(max)) if min > max || above && min >= max)
        {
            return Err(format!("its range is empty: {}", self.range));
        }
        if self.kind == Kind::Text {
            return Err("a loss's hyperparameters are numbers, switches and choices".to_owned());
        }
        check_count("choices", self.choices.len(), CHOICES)?;
        if self.kind == Kind::Unknown {
            return Ok(());
        }
        if self.kind.has_words() == self.choices.is_empty() {
            return Err("it has a choice without words, or words without being a choice".to_owned());
        }
        for word in &self.choices {
            if word.is_empty() || word.len() > CHOICE_BYTES || word.contains(char::is_control) {
                let most = CHOICE_BYTES;
                return Err(format!(
                    "its choice {} isn't a word of 1 to {most} bytes",
                    shown(word)
                ));
            }
        }
        if let Some(word) = twice(self.choices.iter().map(String::as_str)) {
            return Err(format!("it has the choice {word} twice"));
        }
        let default = self.default.to_string();
        let most = if self.kind.element().is_some() { ELEMENTS } else { 8 } * CHOICE_BYTES;
        check_length("default", default.len(), most)?;
        self.check(&self.default).map(drop).map_err(|_| match self.kind {
            Kind::Boolean => format!("its default {default} isn't true or false"),
            Kind::Text => format!("its default {default} isn't a text"),
            Kind::Choice => {
                format!("its default {default} isn't one of {}", self.choices.join(", "))
            }
            Kind::Float => format!("its default {default} isn't a number ({})", self.range),
            Kind::Integer => format!("its default {default} isn't a whole number ({})", self.range),
            Kind::Floats | Kind::Integers | Kind::Choices | Kind::Unknown => {
                format!("its default {default} isn't {}", self.wanted())
            }
        })
    }

    /// What a list holds, in words.
    fn wanted(&self) -> String {
        match self.kind {
            Kind::Choices => format!("a list of some of {}", self.choices.join(", ")),
            Kind::Integers => format!("a list of whole numbers ({})", self.range),
            _ => format!("a list of numbers ({})", self.range),
        }
    }

    /// The value in the field's own type, or what is wrong with it.
    fn check(&self, value: &Value) -> Result<Value, String> {
        let Some(element) = self.kind.element() else { return self.check_as(self.kind, value) };
        let list = value
            .as_array()
            .ok_or_else(|| format!("{} must be {}, not {value}", self.name, self.wanted()))?;
        let of = |e: String| format!("{}: {e}", self.name);
        check_count("elements", list.len(), ELEMENTS).map_err(of)?;
        list.iter().map(|value| self.check_as(element, value)).collect()
    }

    /// One value, or element of a list.
    fn check_as(&self, kind: Kind, value: &Value) -> Result<Value, String> {
        let name = &self.name;
        let wrong = |wants: &str| format!("{name} must be {wants}, not {value}");
        match kind {
            Kind::Floats | Kind::Integers | Kind::Choices | Kind::Unknown => Err(wrong("no list")),
            Kind::Boolean => value.as_bool().map(Value::from).ok_or_else(|| wrong("true or false")),
            // `0.5` and `"0.5"` are one text, and nothing is none.
            Kind::Text => match value {
                Value::String(_) | Value::Null => Ok(value.clone()),
                Value::Number(_) => Ok(Value::from(value.to_string())),
                _ => Err(wrong("a text")),
            },
            Kind::Choice => match value.as_str() {
                Some(word) if self.choices.iter().any(|c| c == word) => Ok(Value::from(word)),
                _ => Err(wrong(&format!("one of {}", self.choices.join(", ")))),
            },
            Kind::Float | Kind::Integer => {
                let x = value.as_f64().ok_or_else(|| wrong("a number"))?;
                if kind == Kind::Integer && (x.fract() != 0.0 || x < 0.0 || x > MOST as f64) {
                    return Err(wrong(&format!("a whole number up to {MOST}")));
                }
                if !self.range.contains(x) {
                    return Err(format!("{name} = {value} is out of range: {}", self.range));
                }
                Ok(if kind == Kind::Integer { Value::from(x as u64) } else { Value::from(x) })
            }
        }
    }
}

/// The candidate most like `word`, if one is like enough to be a slip of the keyboard.
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let edits = strsim::osa_distance;
    let best = candidates.iter().map(|c| (edits(word, c), *c)).min()?;
    (best.0 <= 1 + word.chars().count().max(best.1.chars().count()) / 3).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::{Pack, is_name, nearest};
    use serde_json::{Value, json};

    fn pack() -> Value {
        json!({"interface": 1, "sdk": "by hand", "losses": [{"name": "a", "doc": "", "paper": "", "source": "", "exempt": {}, "hyper": [
            {"name": "x", "doc": "", "kind": "float", "default": 1, "range": {"min": 0, "max": 2}},
            {"name": "n", "doc": "", "kind": "integer", "default": 3},
            {"name": "on", "doc": "", "kind": "choice", "default": "b", "choices": ["a", "b"]},
            {"name": "sizes", "doc": "", "kind": "integers", "default": [8, 16], "range": {"min": 1}},
        ]}]})
    }

    fn check(pack: Value) -> Result<(), String> {
        serde_json::from_value::<Pack>(pack).map_err(|e| e.to_string())?.check(1)
    }

    #[test]
    fn all_that_a_pack_says_about_itself_is_checked() {
        assert_eq!(check(pack()), Ok(()));
        let long = "x".repeat(2 << 20);
        let many = |value: Value, n: usize| Value::from(vec![value; n]);
        let field = |i: usize, key: &str| format!("/losses/0/hyper/{i}/{key}");
        for (place, value, part) in [
            ("/interface".to_owned(), json!(2), "says interface 2, but the file carries 1"),
            ("/sdk".to_owned(), json!(long), "SDK has 2097152 bytes, more than 128"),
            ("/losses".to_owned(), json!([]), "it has no loss"),
            ("/losses".to_owned(), many(pack()["losses"][0].clone(), 2), "two losses called a"),
            ("/losses".to_owned(), many(pack()["losses"][0].clone(), 2000), "2000 losses"),
            ("/losses/0/name".to_owned(), json!("../../x"), "loss \"../../x\": a name is a small"),
            ("/losses/0/name".to_owned(), json!("a\u{1b}[2J"), "\\u{1b}[2J"),
            ("/losses/0/doc".to_owned(), json!(long), "its doc has 2097152 bytes"),
            ("/losses/0/paper".to_owned(), json!(long), "its paper has"),
            ("/losses/0/source".to_owned(), json!(long), "its source has"),
            ("/losses/0/hyper".to_owned(), many(pack()["losses"][0]["hyper"][0].clone(), 65), "65"),
            (
                "/losses/0/exempt".to_owned(),
                json!({"../x": ""}),
                "exemption \"../x\": a name is a small",
            ),
            (
                "/losses/0/exempt".to_owned(),
                json!({"order": long}),
                "exemption \"order\": its reason has",
            ),
            (field(1, "name"), json!("x"), "two hyperparameters called x"),
            (
                field(1, "name"),
                json!("weight"),
                "hyperparameter \"weight\": an experiment file has",
            ),
            (field(1, "name"), json!("lr_factor"), "call it something else"),
            (field(1, "name"), json!("name"), "call it something else"),
            (field(1, "name"), json!("N"), "a name is a small letter"),
            (field(1, "doc"), json!(long), "hyperparameter \"n\": its doc has"),
            (field(0, "default"), json!(3), "its default 3 isn't a number (0 to 2)"),
            (field(0, "default"), json!("1"), "isn't a number"),
            (field(0, "default"), many(json!(0), 1000), "its default has"),
            (field(1, "default"), json!(0.5), "isn't a whole number"),
            (field(1, "default"), json!(-1), "isn't a whole number"),
            (field(1, "default"), json!(1e300), "isn't a whole number"),
            (field(2, "default"), json!("c"), "isn't one of a, b"),
            (
                field(3, "default"),
                json!(8),
                "its default 8 isn't a list of whole numbers (at least 1)",
            ),
            (field(3, "default"), json!([8, 0]), "its default [8,0] isn't a list of whole numbers"),
            (field(3, "default"), json!([0.5]), "its default [0.5] isn't a list of whole numbers"),
            (field(3, "default"), many(json!(1), 65), "isn't a list of whole numbers"),
            (field(3, "kind"), json!("choices"), "a choice without words"),
            (field(2, "choices"), json!([]), "a choice without words"),
            (field(2, "choices"), json!(["b", "b"]), "the choice b twice"),
            (field(2, "choices"), json!(["b", "a\nb"]), "isn't a word"),
            (field(2, "choices"), many(json!("b"), 65), "65 choices"),
            (field(0, "kind"), json!("text"), "hyperparameters are numbers, switches and choices"),
            (field(0, "range"), json!({"min": 2, "max": 0}), "its range is empty: 2 to 0"),
            (field(0, "range"), json!({"min": 1, "max": 1, "above": true}), "its range is empty"),
        ] {
            let mut pack = pack();
            *pack.pointer_mut(&place).unwrap() = value;
            let why = check(pack).expect_err(&place);
            assert!(why.contains(part), "{place}: {why}");
            assert!(why.len() < 1000 && !why.contains(char::is_control), "{place}: {why}");
        }
    }

    #[test]
    fn resolving_twice_gives_the_same() {
        let pack: Pack = serde_json::from_value(pack()).unwrap();
        let once = pack.losses[0].resolve(&serde_json::Map::new()).unwrap();
        assert_eq!(once["x"].to_string(), "1.0", "a default of another type of number");
        assert_eq!(pack.losses[0].resolve(&once).unwrap(), once);
    }

    #[test]
    fn lists_are_checked_element_by_element() {
        let pack: Pack = serde_json::from_value(pack()).unwrap();
        let given = |value: Value| {
            let given = [("sizes".to_owned(), value)].into_iter().collect();
            pack.losses[0].resolve(&given).map(|all| all["sizes"].clone())
        };
        assert_eq!(given(json!([4.0, 2])), Ok(json!([4, 2])));
        assert_eq!(given(json!([])), Ok(json!([])));
        for (value, part) in [
            (json!(4), "a: sizes must be a list of whole numbers (at least 1), not 4"),
            (json!([4, "x"]), "a: sizes must be a number, not \"x\""),
            (json!([[4]]), "a: sizes must be a number, not [4]"),
            (json!([0]), "a: sizes = 0 is out of range: at least 1"),
        ] {
            assert_eq!(given(value).unwrap_err(), part);
        }
    }

    #[test]
    fn a_kind_to_come_disables_its_loss_alone() {
        let mut pack = pack();
        let mut other = pack["losses"][0].clone();
        other["name"] = json!("b");
        other["hyper"][0]["kind"] = json!("matrix");
        other["hyper"][0]["default"] = json!([[1, 2], [3, 4]]);
        pack["losses"].as_array_mut().unwrap().push(other);
        assert_eq!(check(pack.clone()), Ok(()));
        let pack: Pack = serde_json::from_value(pack).unwrap();
        assert!(pack.losses[0].resolve(&serde_json::Map::new()).is_ok());
        assert_eq!(
            pack.losses[1].resolve(&serde_json::Map::new()).unwrap_err(),
            "b has a hyperparameter of a kind that this version doesn't know, x: update retort"
        );
    }

    #[test]
    fn names_can_be_parts_of_paths() {
        for good in ["a", "n_pair", "x2", &"a".repeat(64)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "A", "2x", "_a", "a-b", "a.b", "a/b", "é", "a\0", "a ", &"a".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn nearest_finds_slips_and_leaves_strangers_alone() {
        assert_eq!(nearest("simga", &["sigma", "delta"]), Some("sigma"));
        assert_eq!(nearest("dleta", &["sigma", "delta"]), Some("delta"));
        assert_eq!(nearest("rdk", &["crd", "rkd"]), Some("rkd"), "a swap is one slip");
        assert_eq!(nearest("momentum", &["sigma", "delta"]), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
