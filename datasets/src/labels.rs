//! Labels of pictures from a CSV file: `path,label[,split]`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::dataset::Entry;
use crate::{DataError, Split, read_text};

/// Bytes that such a file may have: millions of lines.
const LONGEST: u64 = 1 << 30;

/// One line.
pub(crate) struct Row {
    /// Below the data set's folder.
    pub path: PathBuf,
    pub label: String,
    pub part: Option<Part>,
}

/// What pictures are for, as those who divided them call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Train,
    Validation,
    Test,
    Query,
    Gallery,
}

impl Part {
    /// The part of that name, however it is written.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.to_lowercase().as_str() {
            "train" | "training" => Self::Train,
            "val" | "valid" | "validation" => Self::Validation,
            "test" | "testing" => Self::Test,
            "query" | "queries" => Self::Query,
            "gallery" => Self::Gallery,
            _ => return None,
        })
    }

    /// The split that it is, unless it is for validation.
    pub fn split(self) -> Option<Split> {
        match self {
            Self::Train => Some(Split::Train),
            Self::Validation => None,
            Self::Test => Some(Split::Test),
            Self::Query => Some(Split::Query),
            Self::Gallery => Some(Split::Gallery),
        }
    }
}

const ADVICE: &str = "Each line names a picture below the data set's folder, its label, and perhaps its split: \
    path,label,split";

/// Where the columns are.
#[derive(Clone, Copy)]
struct Columns {
    path: usize,
    label: usize,
    split: Option<usize>,
}

impl Columns {
    /// As a header says, if the line is one.
    fn named(line: &csv::StringRecord) -> Option<Self> {
        let find = |names: &[&str]| {
            line.iter().position(|field| names.iter().any(|name| field.eq_ignore_ascii_case(name)))
        };
        Some(Self {
            path: find(&["path", "file", "filename", "image", "picture"])?,
            label: find(&["label", "class", "category", "target"])?,
            split: find(&["split", "part", "subset", "set"]),
        })
    }
}

/// All lines of a file in their order. Without a header, the columns are path, label and split. Tabs may
/// stand for commas.
pub(crate) fn read(entry: &Entry, file: &Path) -> Result<Vec<Row>, DataError> {
    let name = file.display().to_string();
    let fail = |problem: String| DataError::file(&name, problem, ADVICE);
    let text = read_text(file, LONGEST).map_err(|error| {
        let advice = format!("{ADVICE}. {}", entry.files);
        DataError::file(&name, format!("it cannot be read ({error})"), advice)
    })?;
    let first = text.lines().next().unwrap_or_default();
    let tabs = first.contains('\t') && !first.contains(',');
    let mut reader = csv::ReaderBuilder::new();
    reader.has_headers(false).flexible(true).trim(csv::Trim::All);
    reader.delimiter(if tabs { b'\t' } else { b',' });
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut columns = None;
    let (mut rows, mut seen) = (Vec::new(), BTreeMap::new());
    for line in reader.from_reader(text.as_bytes()).records() {
        let line = line.map_err(|e| fail(e.to_string()))?;
        let number = line.position().map_or(0, csv::Position::line);
        let bad = |why: String| fail(format!("line {number}: {why}"));
        let at = if let Some(columns) = columns {
            columns
        } else {
            let split = (line.len() > 2).then_some(2);
            let named = Columns::named(&line);
            let at = named.unwrap_or(Columns { path: 0, label: 1, split });
            columns = Some(at);
            if named.is_some() {
                continue;
            }
            at
        };
        let field = |column: usize| line.get(column).filter(|field| !field.is_empty());
        let path = field(at.path).ok_or_else(|| bad("it names no picture".to_owned()))?;
        let label = field(at.label).ok_or_else(|| bad(format!("{path} has no label")))?;
        let part = at.split.and_then(field).map(|name| {
            let unknown =
                || bad(format!("the split {name:?} is none of train, val, test, query, gallery"));
            Part::named(name).ok_or_else(unknown)
        });
        let path: PathBuf =
            Path::new(path).components().filter(|part| *part != Component::CurDir).collect();
        if let Some(before) = seen.insert(path.clone(), number) {
            return Err(bad(format!("it names {} again, after line {before}", path.display())));
        }
        rows.push(Row { path, label: label.to_owned(), part: part.transpose()? });
    }
    if rows.is_empty() {
        return Err(fail("it names no picture".to_owned()));
    }
    Ok(rows)
}
